//! Hosts that report for as long as they are asked: load.

use fleetmark_proto::{
    host::{Host, HostIdSource},
    id::{HostId, ReportId},
    invalid::Invalid,
    report::Report,
};
use jiff::Timestamp;

use super::{
    machine::{KINDS, Measured},
    random::Random,
};

/// Machines of several kinds, each with its host id, that report in turn. The same seed gives the same samples.
#[derive(Clone, Debug)]
pub struct Fleet {
    hosts: Vec<HostId>,
    next: usize,
    turns: u32,
    random: Random,
}

impl Fleet {
    /// A fleet of this many hosts, called `NAME-0`, `NAME-1` and so on.
    ///
    /// # Errors
    ///
    /// If the name does not fit into a host id, or there are no hosts.
    pub fn new(name: &str, hosts: u32, seed: u64) -> Result<Self, Invalid> {
        if hosts == 0 {
            return Err(Invalid::new("hosts", "must be at least one"));
        }
        let hosts = (0..hosts).map(|number| format!("{name}-{number}").parse());
        let hosts = hosts.collect::<Result<_, _>>()?;
        Ok(Self { hosts, next: 0, turns: 0, random: Random::new(seed) })
    }

    /// How often all of its hosts have reported.
    #[must_use]
    pub fn turns(&self) -> u32 {
        self.turns
    }

    /// The report of a run that the next host ended at `ended_at`, with an id of its own.
    pub fn report(&mut self, ended_at: Timestamp) -> Report {
        let place = self.next;
        self.next += 1;
        if self.next == self.hosts.len() {
            (self.next, self.turns) = (0, self.turns.saturating_add(1));
        }
        let measured = Measured { kind: &KINDS[place % KINDS.len()], pace: &|_| 1.0 };
        let id = self.hosts[place].clone();
        let host = Host {
            name: format!("{id}.example"),
            id,
            id_source: HostIdSource::Cloud,
            boot_id_hash: Some(format!("{place:032x}")),
        };
        let labels = [("rack", (place / 40).to_string()), ("env", "simulated".to_owned())];
        Report {
            labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
            ..measured.report(ReportId::at(ended_at), host, ended_at, &mut self.random)
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::convert::{self, Encoded};

    use super::*;

    #[test]
    fn reports_are_valid_realistic_and_all_different() {
        let mut fleet = Fleet::new("sim", 5, 1).unwrap();
        let now = Timestamp::now();
        let reports: Vec<Report> = (0..10).map(|_| fleet.report(now)).collect();
        for report in &reports {
            let encoded = Encoded::new(report);
            assert_eq!(&convert::decode(&encoded.bytes).unwrap(), report);
            assert!((1_500..6_000).contains(&encoded.bytes.len()), "{}", encoded.bytes.len());
            assert_eq!(report.cells.len(), 11);
            assert!(report.counts(false));
        }
        let ids: std::collections::BTreeSet<_> = reports.iter().map(|report| report.id).collect();
        assert_eq!(ids.len(), 10);
        let hosts: Vec<&str> = reports.iter().map(|report| report.host.id.as_str()).collect();
        assert_eq!(hosts[..6], ["sim-0", "sim-1", "sim-2", "sim-3", "sim-4", "sim-0"]);
        let again = Fleet::new("sim", 5, 1).unwrap().report(now);
        assert_eq!(again.cells, reports[0].cells, "by the same seed");
    }

    #[test]
    fn a_fleet_has_hosts_with_proper_names() {
        assert!(Fleet::new("sim", 0, 1).is_err());
        assert!(Fleet::new("two words", 1, 1).is_err());
    }
}
