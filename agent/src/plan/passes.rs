//! The passes beside the eleven cells, and what takes their place.

use fleetmark_proto::{
    plan::{Amount, CellKey, Scenario, Spawner},
    series::Pass,
    verdict::ROUNDS,
};

use super::{Asked, Order, Passes, Plan, PlanError, PlannedCell, Preset};
use crate::spawner::{Mode, Task};

/// Rounds of the article's crate.
const ARTICLE_ROUNDS: u32 = 5;
/// Units of each grain, as many as in the other scenarios.
const GRAIN_UNITS: u64 = 1_000;
/// Lengths of a unit in rounds of the kernel, from nothing to about a millisecond. Whole numbers that are the same on every
/// host, so that hosts compare.
const GRAINS: [u64; 10] = [0, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 500_000];

impl Passes {
    /// Makes the plans of a run for a host with this many workers, which already honours [`Asked::workers`].
    ///
    /// # Errors
    ///
    /// If nothing would be measured, too many units would be spawned at once, or no report could hold all samples.
    pub fn new(asked: &Asked, workers: u32) -> Result<Self, PlanError> {
        let (cells, first) = match asked.preset {
            None => (Some(Plan::new(asked, workers)?), None),
            Some(Preset::Article) => (None, Some(Pass::Article)),
            Some(Preset::Grain) => (None, Some(Pass::Grain)),
        };
        let beside = first.into_iter().chain(asked.beside.iter().copied());
        let beside = beside
            .map(|pass| Ok((pass, Plan::of_pass(pass, asked, workers)?)))
            .collect::<Result<_, _>>()?;
        Self { cells, beside }.within_a_report()
    }

    /// Every plan, in the order in which they are measured.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.cells.iter().chain(self.beside.iter().map(|(_, plan)| plan))
    }
}

impl Plan {
    fn of_pass(pass: Pass, asked: &Asked, workers: u32) -> Result<Self, PlanError> {
        // Eleven is what nobody asked for.
        if pass == Pass::Article && ![ROUNDS, ARTICLE_ROUNDS].contains(&asked.rounds) {
            return Err(PlanError::FixedRounds(ARTICLE_ROUNDS));
        }
        let cells = match pass {
            Pass::Article => article(asked, workers),
            Pass::Grain => grain(asked, workers),
            Pass::Neighbours => neighbours(asked, workers),
            Pass::Diagnose => diagnose(asked, workers),
        }?;
        if cells.is_empty() {
            return Err(PlanError::EmptyPass(pass));
        }
        let plan = Self::of(cells, asked, workers);
        Ok(match pass {
            Pass::Article => Self { rounds: ARTICLE_ROUNDS, order: Order::CellByCell, ..plan },
            _ => plan,
        })
    }
}

/// The article's seven: `spawn-blocking` in its CPU-bound scenario only, and no rayon. The order of scenarios is its
/// own, and within each threads come before tasks.
fn article(asked: &Asked, workers: u32) -> Result<Vec<PlannedCell>, PlanError> {
    let seven = asked.cells().filter(|key| match key.spawner {
        Spawner::Thread | Spawner::Tokio => true,
        Spawner::SpawnBlocking => key.scenario == Scenario::CpuBound,
        Spawner::Rayon => false,
    });
    seven.map(|key| PlannedCell::new(key, asked, workers)).collect()
}

fn grain(asked: &Asked, workers: u32) -> Result<Vec<PlannedCell>, PlanError> {
    let spawners: Vec<CellKey> =
        asked.cells().filter(|key| key.scenario == Scenario::CpuBound).collect();
    let amount = Amount::Units(GRAIN_UNITS);
    let of_length = |rounds: u64| {
        spawners
            .iter()
            .map(move |&key| PlannedCell::with(key, amount, Task::CpuBound(rounds), asked, workers))
    };
    GRAINS.into_iter().flat_map(of_length).collect()
}

fn neighbours(asked: &Asked, workers: u32) -> Result<Vec<PlannedCell>, PlanError> {
    asked
        .cells()
        .filter(|key| key.scenario == Scenario::CpuBound)
        .map(|key| Ok(PlannedCell::new(key, asked, workers)?.started(Mode::BesideTicker)))
        .collect()
}

fn diagnose(asked: &Asked, workers: u32) -> Result<Vec<PlannedCell>, PlanError> {
    let mut cells = Vec::new();
    for key in asked.cells() {
        let cell = PlannedCell::new(key, asked, workers)?;
        let has = |spawners: &[Spawner]| spawners.contains(&key.spawner);
        let single = key.scenario == Scenario::Waiting && has(&[Spawner::Thread, Spawner::Tokio]);
        let modes = [
            (Mode::Plain, true),
            (Mode::Split, true),
            (Mode::FromWorker, !has(&[Spawner::Thread])),
            (Mode::Vector, has(&[Spawner::Tokio, Spawner::SpawnBlocking])),
            (Mode::ColdPool, has(&[Spawner::SpawnBlocking])),
        ];
        cells.extend(modes.iter().filter(|(_, fits)| *fits).map(|(mode, _)| cell.started(*mode)));
        if single {
            let one = PlannedCell::with(key, Amount::Units(1), cell.work.task, asked, workers)?;
            cells.push(one.started(Mode::Single));
        }
    }
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::tests::asked, *};

    fn only(passes: &Passes) -> &Plan {
        let [(_, plan)] = &passes.beside[..] else { panic!("{passes:?}") };
        plan
    }

    #[test]
    fn the_article_is_seven_cells_five_times_one_after_the_other() {
        let asked = Asked { preset: Some(Preset::Article), ..asked() };
        let passes = Passes::new(&asked, 12).unwrap();
        assert_eq!(passes.cells, None);
        let plan = only(&passes);
        let names: Vec<String> = plan.cells.iter().map(|cell| cell.key.to_string()).collect();
        assert_eq!(
            names,
            [
                "spawn-overhead thread",
                "spawn-overhead tokio",
                "waiting thread",
                "waiting tokio",
                "cpu-bound thread",
                "cpu-bound tokio",
                "cpu-bound spawn-blocking",
            ]
        );
        let order: Vec<usize> = plan.stretches().concat();
        assert_eq!(order.len(), 35);
        assert_eq!(order[..6], [0, 0, 0, 0, 0, 1]);
        assert_eq!(plan.cold_rounds(), 0);
        assert_eq!(plan.cells[4].units, 24);
    }

    #[test]
    fn grains_grow_from_nothing_for_every_spawner() {
        let passes = Passes::new(&Asked { preset: Some(Preset::Grain), ..asked() }, 2).unwrap();
        let plan = only(&passes);
        assert_eq!(plan.cells.len(), GRAINS.len() * 4);
        assert!(plan.cells.iter().all(|cell| cell.units == 1_000));
        let lengths: BTreeSet<_> =
            plan.cells.iter().filter_map(|cell| cell.workload.kernel_rounds).collect();
        assert_eq!(lengths, GRAINS.into());
    }

    #[test]
    fn passes_come_beside_the_cells_or_the_preset() {
        let beside = vec![Pass::Neighbours, Pass::Diagnose];
        let asked = Asked { beside, ..asked() };
        let passes = Passes::new(&asked, 2).unwrap();
        assert_eq!(passes.cells.as_ref().unwrap().cells.len(), 11);
        let [(_, neighbours), (_, diagnose)] = &passes.beside[..] else { panic!("{passes:?}") };
        assert_eq!(neighbours.cells.len(), 4);
        let single = |cell: &&PlannedCell| cell.work.mode == Mode::Single;
        assert_eq!(diagnose.cells.iter().filter(single).count(), 2);
        let with_preset = Asked { preset: Some(Preset::Grain), ..asked };
        assert_eq!(Passes::new(&with_preset, 2).unwrap().beside.len(), 3);
    }

    #[test]
    fn a_pass_without_a_cell_is_an_error() {
        let asked =
            Asked { scenarios: vec![Scenario::Waiting], beside: vec![Pass::Neighbours], ..asked() };
        assert_eq!(Passes::new(&asked, 2), Err(PlanError::EmptyPass(Pass::Neighbours)));
    }
}
