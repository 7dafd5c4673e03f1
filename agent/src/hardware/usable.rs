//! How many CPUs this process may use at once, and what limits them.

use fleetmark_proto::profile::{Limit, Millicpus};

use super::{Fact, Found, cgroup::Quota, platform::one_line, topology::Topology};

/// How many CPUs this process may use at once.
#[derive(Debug)]
pub(super) struct Usable {
    pub(super) cpus: u32,
    pub(super) limit: Limit,
    pub(super) quota_millicpus: Option<u64>,
    /// Why it is so many, for a person.
    pub(super) reason: String,
    source: &'static str,
}

impl Usable {
    /// `live` is there on a running host, and in it the standard library's own count, which decides: Tokio follows it.
    pub(super) fn new(
        topology: &Topology,
        quota: &Found<Option<Quota>>,
        live: Option<Option<u32>>,
    ) -> Self {
        let parallelism = live.flatten();
        let online = topology.online_cpus();
        let allowed = topology.allowed_cpus().or(online);
        let quota_is_shown = quota.value.is_some();
        // A quota that leaves every CPU usable all the time limits nothing.
        let quota = quota.value.as_ref().and_then(Option::as_ref).filter(|quota| {
            allowed.is_none_or(|allowed| quota.millicpus < u64::from(allowed) * 1000)
        });
        let (counted, limit, reason) = match (quota, allowed, online) {
            (Some(quota), _, _) => {
                let whole = u32::try_from(quota.millicpus / 1000).unwrap_or(u32::MAX).max(1);
                (Some(whole), Limit::Quota, quota_reason(quota))
            }
            (None, Some(allowed), Some(online)) if allowed < online => {
                let list = one_line(topology.allowed.value.as_deref().unwrap_or(""));
                let reason = format!("affinity allows {allowed} of {online} CPUs ({list})");
                (Some(allowed), Limit::Affinity, reason)
            }
            (None, Some(allowed), _) => {
                let limit = if quota_is_shown { "no limit" } else { "and no quota can be seen" };
                let cpus = if allowed == 1 { "CPU" } else { "CPUs" };
                (Some(allowed), Limit::None, format!("{allowed} {cpus} online, {limit}"))
            }
            (None, None, _) => {
                let reason = match parallelism {
                    Some(cpus) => format!("the operating system counts {cpus}, and shows no limit"),
                    None => "the host does not show its CPUs".to_owned(),
                };
                (None, Limit::None, reason)
            }
        };
        let cpus = parallelism.or(counted).unwrap_or(1);
        let reason = match counted {
            Some(counted) if counted != cpus => {
                format!("the standard library counts {cpus}; by the files of the host, {reason}")
            }
            _ => reason,
        };
        let quota_millicpus = quota.map(|quota| quota.millicpus);
        let source = match live {
            Some(_) => "std::thread::available_parallelism",
            None => "online_cpus, affinity and quota_cpus",
        };
        Self { cpus, limit, quota_millicpus, reason, source }
    }

    pub(super) fn facts(&self, topology: &Topology, quota: &Found<Option<Quota>>) -> [Fact; 4] {
        let limit = match (self.limit, self.quota_millicpus) {
            (Limit::None, _) => "none".to_owned(),
            (Limit::Affinity, _) => "affinity".to_owned(),
            (Limit::Quota, quota) => format!("quota {}", Millicpus(quota.unwrap_or_default())),
        };
        let cpus = |quota: &Option<Quota>| match quota {
            Some(quota) => Millicpus(quota.millicpus).to_string(),
            None => "none".to_owned(),
        };
        [
            Found::new(Some(self.cpus), self.source).fact("usable_cpus", u32::to_string),
            topology.allowed.fact("affinity", String::clone),
            quota.fact("quota_cpus", cpus),
            Found::new(Some(limit), self.reason.clone()).fact("limit", String::clone),
        ]
    }
}

fn quota_reason(quota: &Quota) -> String {
    let cpus = Millicpus(quota.millicpus);
    let sets = format!("cgroup {} sets a quota of {cpus} CPUs", quota.level);
    match (quota.millicpus / 1000, quota.millicpus % 1000) {
        (_, 0) => sets,
        (0, _) => format!("{sets}; one worker is the least, and shares it with all threads"),
        (_, rest) => {
            format!("{sets}; flooring leaves {} CPU that only threads can use", Millicpus(rest))
        }
    }
}
