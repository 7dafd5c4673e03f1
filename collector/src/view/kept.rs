//! Medians per hardware profile from what a store keeps of each host, in place of all its runs. They are the same to the letter.

use std::collections::{BTreeMap, BTreeSet};

use fleetmark_proto::{
    id::{HostId, ReportId},
    plan::Spawner,
    report::{Cell, Report},
    samples,
    unit::Nanos,
};
use jiff::Timestamp;

use super::{Facet, Filter, Question, View, medians::Found, names};
use crate::{
    stats::{Group, GroupKey, LeftOut, Newest, is_collision, lacking},
    store::{
        StoredRun,
        rollup::{CellValue, Counts, Extract, Form, FormCell, FormId, Rollup, RunAt},
    },
};

/// A view that lacks only some runs: those that name profiles, and those of which rounds are told.
pub struct Draft<'a> {
    filter: &'a Filter,
    question: &'a Question,
    profiles: Vec<ProfileDraft<'a>>,
    lacks: BTreeSet<ReportId>,
}

/// What was found of a profile.
struct ProfileDraft<'a> {
    newest: RunAt,
    hosts: u64,
    counts: Counts,
    collisions: Vec<HostId>,
    complete: bool,
    groups: Vec<(GroupKey, Group<'a>)>,
    kernel_time: Option<Nanos>,
}

impl Filter {
    /// Whether what is kept of hosts answers this question, as far as nobody asks for a part of their runs.
    #[must_use]
    pub fn is_kept(&self, question: &Question) -> bool {
        let Self {
            profile: _,
            host,
            label,
            scenario: _,
            spawner: _,
            build,
            since: _,
            until,
            include_suspect,
        } = self;
        let all_runs = host.is_empty() && label.is_empty() && build.is_empty() && until.is_none();
        all_runs && !include_suspect && question.by == [Facet::Profile]
    }

    /// Whether runs of this form are asked for.
    fn wants_form(&self, form: &Form) -> bool {
        (self.profile.is_empty() || self.profile.iter().any(|wanted| is_of(form, wanted)))
            && form.cells.iter().any(|cell| self.wants(cell.scenario, cell.spawner))
    }

    /// Whether each profile that is asked for is one: the name of all that bear it, or the start of one id.
    fn names_profiles(&self, rollup: &Rollup) -> bool {
        let forms = || rollup.forms.values().map(|(form, _)| form);
        self.profile.iter().all(|wanted| {
            let meant = forms().filter(|form| is_of(form, wanted));
            let ids: BTreeSet<&str> = meant.map(|form| form.profile.as_str()).collect();
            ids.len() == 1 || forms().any(|form| form.name == *wanted)
        })
    }
}

/// Whether the runs of a form are of a profile that is meant by what was typed.
fn is_of(form: &Form, wanted: &str) -> bool {
    names::is_meant(&form.name, &form.profile, wanted)
}

/// The runs that count in this window alone, and are to be read for [`Draft::new`].
#[must_use]
pub fn unshared(rollup: &Rollup) -> Vec<ReportId> {
    rollup.unshared.iter().map(|unshared| unshared.run.id).collect()
}

impl<'a> Draft<'a> {
    /// A view of what is kept, with these runs as [`unshared`] asked for them. `None` where it cannot tell: if a profile that is asked for
    /// is none or several, or a run has gone meanwhile.
    #[must_use]
    pub fn new(
        rollup: &'a Rollup,
        unshared: &[StoredRun],
        filter: &'a Filter,
        question: &'a Question,
    ) -> Option<Self> {
        if !filter.names_profiles(rollup) || unshared.len() != rollup.unshared.len() {
            return None;
        }
        let mut wanted: BTreeMap<&str, Gathering<'a>> = BTreeMap::new();
        let collided = Collided::of(rollup);
        for (id, (form, counts)) in &rollup.forms {
            if filter.wants_form(form) {
                let mut alone = *counts;
                for (clean, partial) in collided.runs.get(id).into_iter().flatten() {
                    alone.add(*clean, *partial, -1);
                }
                let gathering = wanted.entry(&form.profile).or_default();
                gathering.form(*id, form, *counts, alone, filter);
            }
        }
        for host in &rollup.hosts {
            let Some((form, _)) = rollup.forms.get(&host.form) else { continue };
            let Some(gathering) = wanted.get_mut(form.profile.as_str()) else { continue };
            let Some(slots) = gathering.slots_of.get(&host.form) else { continue };
            let kept = host.kept();
            gathering.newest = gathering.newest.max(Some(kept.last));
            let is_new = gathering.last_host != Some(&host.host);
            gathering.last_host = Some(&host.host);
            gathering.hosts += u64::from(is_new);
            if collided.hosts.contains(&host.host) {
                if is_new {
                    gathering.collisions.push(host.host.clone());
                }
                continue;
            }
            let is_in = |run: RunAt| run.time_us >= rollup.since_us;
            if let Some((run, kernel)) = kept.kernel.filter(|(run, _)| is_in(*run)) {
                put_newer(&mut gathering.kernels, &host.host, run, kernel);
            }
            for (slot, value) in slots.iter().zip(&kept.values) {
                if let (Some(slot), Some((run, value))) = (slot, value)
                    && is_in(*run)
                    && let Some(slot) = gathering.slots.get_mut(*slot)
                {
                    put_newer(&mut slot.values, &host.host, *run, *value);
                }
            }
        }
        for gathering in wanted.values_mut() {
            gathering.take_unshared(rollup, unshared, &collided);
        }
        let profiles: Vec<_> = wanted.into_values().filter_map(Gathering::draft).collect();
        let lacks = profiles.iter().flat_map(|profile| profile.lacks(question)).collect();
        Some(Self { filter, question, profiles, lacks })
    }

    /// The runs that are to be read for [`Draft::view`].
    #[must_use]
    pub fn lacks(&self) -> &BTreeSet<ReportId> {
        &self.lacks
    }

    /// The view, with the runs that it [`Draft::lacks`]. `None` if one of them has gone meanwhile.
    #[must_use]
    pub fn view(self, runs: &'a [StoredRun], now: Timestamp) -> Option<View> {
        let runs: BTreeMap<ReportId, &'a StoredRun> =
            runs.iter().map(|run| (run.report.id, run)).collect();
        if !self.lacks.iter().all(|id| runs.contains_key(id)) {
            return None;
        }
        let profiles = self.profiles.into_iter().map(|mut profile| {
            for (key, group) in &mut profile.groups {
                group.add_rounds(|spawner, id| {
                    let report = &runs.get(&id)?.report;
                    Some((report, cell(report, key, spawner)?))
                });
            }
            let Counts { clean: _, suspect, partial, partial_suspect } = profile.counts;
            let found = Found {
                newest: runs.get(&profile.newest.id)?,
                profiles: 1,
                hosts: profile.hosts,
                runs: whole(profile.counts.runs()),
                suspect_runs: whole(suspect + partial_suspect),
                partial_runs: whole(partial + partial_suspect),
                collisions: profile.collisions,
                complete: profile.complete,
                groups: profile.groups,
                kernel_time: profile.kernel_time,
            };
            Some(found.view(self.filter, self.question))
        });
        let profiles = profiles.collect::<Option<Vec<_>>>()?;
        Some(View::of(profiles, self.filter, self.question, now))
    }
}

impl ProfileDraft<'_> {
    fn lacks(&self, question: &Question) -> BTreeSet<ReportId> {
        let mut lacks = lacking(&self.groups, self.complete.then_some(question.against));
        lacks.insert(self.newest.id);
        lacks
    }
}

/// A count as it is told; one that is negative is damaged, and none.
fn whole(counted: i64) -> u64 {
    u64::try_from(counted).unwrap_or_default()
}

/// The cell of a report that enters this group.
fn cell<'a>(report: &'a Report, key: &GroupKey, spawner: Spawner) -> Option<&'a Cell> {
    let mut all = report.measured().filter(|(_, cell)| cell.key.spawner == spawner);
    all.find(|(series, cell)| GroupKey::of(report, *series, cell) == *key).map(|(_, cell)| cell)
}

/// The hosts that are two machines.
struct Collided<'a> {
    hosts: BTreeSet<&'a HostId>,
    /// Whether each of their runs is clean, and whether it is partial; by form.
    runs: BTreeMap<FormId, Vec<(bool, bool)>>,
}

impl<'a> Collided<'a> {
    fn of(rollup: &'a Rollup) -> Self {
        let mut collided = Self { hosts: BTreeSet::new(), runs: BTreeMap::new() };
        for (host, seen) in &rollup.doubtful {
            let mut stays: Vec<_> = seen.iter().filter_map(|seen| seen.stay).collect();
            if is_collision(&mut stays) {
                collided.hosts.insert(host);
                for seen in seen {
                    let runs = collided.runs.entry(seen.form).or_default();
                    runs.push((seen.clean, seen.partial));
                }
            }
        }
        collided
    }
}

/// Values of hosts, in the order of these.
type Values<'a, T> = Vec<(&'a HostId, RunAt, T)>;

/// Adds what a host's run says, who comes in the order of hosts: the newer of two runs counts.
fn put_newer<'a, T>(values: &mut Values<'a, T>, host: &'a HostId, run: RunAt, value: T) {
    match values.last_mut().filter(|(last, ..)| *last == host) {
        Some((_, from, _)) if *from > run => {}
        Some(last) => *last = (host, run, value),
        None => values.push((host, run, value)),
    }
}

/// What is being found of a profile.
#[derive(Default)]
struct Gathering<'a> {
    newest: Option<RunAt>,
    hosts: u64,
    last_host: Option<&'a HostId>,
    counts: Counts,
    collisions: Vec<HostId>,
    incomplete: bool,
    kernels: Values<'a, Nanos>,
    slots: Vec<Slot<'a>>,
    /// Where the values of a form belong, in the order of its cells.
    slots_of: BTreeMap<FormId, Vec<Option<usize>>>,
}

/// One spawner of one group.
struct Slot<'a> {
    key: GroupKey,
    spawner: Spawner,
    values: Values<'a, CellValue>,
    left_out: LeftOut,
}

impl<'a> Gathering<'a> {
    /// Counts the runs of a form. `alone` are those of hosts that are one machine.
    fn form(&mut self, id: FormId, form: &Form, counts: Counts, alone: Counts, filter: &Filter) {
        self.counts.clean += counts.clean;
        self.counts.suspect += counts.suspect;
        self.counts.partial += counts.partial;
        self.counts.partial_suspect += counts.partial_suspect;
        self.incomplete |= !form.complete;
        let mut slots = Vec::with_capacity(form.cells.len());
        for cell in &form.cells {
            if alone.runs() == 0 || !filter.wants_scenario(cell.scenario) {
                slots.push(None);
                continue;
            }
            let place = self.slot(form, cell);
            if let Some(slot) = self.slots.get_mut(place) {
                slot.left_out.suspect += whole(alone.suspect);
                slot.left_out.partial += whole(alone.partial + alone.partial_suspect);
            }
            slots.push(Some(place));
        }
        self.slots_of.insert(id, slots);
    }

    fn slot(&mut self, form: &Form, cell: &FormCell) -> usize {
        let FormCell { series, scenario, spawner, workload, units } = *cell;
        let is_it = |slot: &Slot<'_>| {
            let key = &slot.key;
            slot.spawner == spawner
                && (key.series, key.scenario, key.workload, key.units)
                    == (series, scenario, workload, units)
                && key.build == form.build
        };
        self.slots.iter().position(is_it).unwrap_or_else(|| {
            let key = GroupKey { series, scenario, workload, units, build: form.build.clone() };
            let (values, left_out) = (Vec::new(), LeftOut::default());
            self.slots.push(Slot { key, spawner, values, left_out });
            self.slots.len() - 1
        })
    }

    /// Takes in runs that are clean in this window alone.
    fn take_unshared(&mut self, rollup: &'a Rollup, runs: &[StoredRun], collided: &Collided<'_>) {
        for unshared in &rollup.unshared {
            let found = runs.iter().find(|run| run.report.id == unshared.run.id);
            let Some(found) = found.filter(|_| !collided.hosts.contains(&unshared.host)) else {
                continue;
            };
            let Extract { form, values, .. } = Extract::of(&found.report);
            let ours = self.slots_of.keys().find_map(|id| {
                let (known, _) = rollup.forms.get(id)?;
                (*known == form).then(|| self.slots_of.get(id))?
            });
            let Some(places) = ours.cloned() else { continue };
            for (place, value) in places.iter().zip(values) {
                let slot = place.and_then(|place| self.slots.get_mut(place));
                let (Some(slot), Some(value)) = (slot, value) else { continue };
                let of_host = slot.values.binary_search_by_key(&&unshared.host, |it| it.0);
                match of_host {
                    Ok(at) => {
                        let known = slot.values.get_mut(at).filter(|it| it.1 < unshared.run);
                        if let Some(known) = known {
                            *known = (&unshared.host, unshared.run, value);
                        }
                    }
                    Err(at) => slot.values.insert(at, (&unshared.host, unshared.run, value)),
                }
            }
        }
    }

    fn draft(self) -> Option<ProfileDraft<'a>> {
        let mut groups: BTreeMap<GroupKey, Group<'a>> = BTreeMap::new();
        for Slot { key, spawner, values, left_out } in self.slots {
            let newest = |(host, run, value): (&'a HostId, RunAt, CellValue)| {
                let RunAt { id, .. } = run;
                let newest: Newest<'a> = value.newest(id);
                (host, newest)
            };
            let newest = values.into_iter().map(newest);
            groups.entry(key).or_default().add_known(spawner, newest, left_out);
        }
        let kernels: Vec<Nanos> = self.kernels.into_iter().map(|(.., time)| time).collect();
        Some(ProfileDraft {
            newest: self.newest?,
            hosts: self.hosts,
            counts: self.counts,
            collisions: self.collisions,
            complete: !self.incomplete,
            groups: groups.into_iter().collect(),
            kernel_time: samples::median(&kernels),
        })
    }
}
