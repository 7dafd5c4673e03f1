//! CPU quotas: who sets them, and how often they stopped this process.
//!
//! A process is limited by its own cgroup and by every one above it. Version 2 has one tree; in version 1 the `cpu`
//! controller has a tree of its own; some hosts have both. In a container the visible tree may begin at the container.

use std::path::{Component, Path, PathBuf};

use fleetmark_proto::{report::Throttling, unit::Nanos};
use procfs_core::{FromBufRead as _, ProcessCGroups, process::MountInfo};

use super::{Found, Root};

/// A quota over this process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Quota {
    /// In thousandths of a CPU; at least 1.
    pub millicpus: u64,
    /// The cgroup that sets it, as a path from the root of the visible tree.
    pub level: String,
    /// The file that says so.
    pub source: String,
}

/// The two versions of cgroups.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    One,
    Two,
}

/// One cgroup over this process.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Level {
    version: Version,
    /// The folder under the root of the host's files.
    folder: String,
    /// The same as seen from the root of the cgroup's tree.
    path: String,
}

/// The tightest quota over this process: `None` inside is none, outside unknown, as the host shows no cgroup that could
/// set one.
pub(super) fn quota(root: Root<'_>) -> Found<Option<Quota>> {
    let levels = levels(root);
    let shown = !levels.is_empty();
    let quotas = levels.into_iter().filter_map(|level| {
        Some(Quota {
            millicpus: level.millicpus(root)?,
            source: format!("/{}/{}", level.folder, level.quota_file()),
            level: level.path,
        })
    });
    let tightest = quotas.min_by_key(|quota| quota.millicpus);
    let source = tightest.as_ref().map_or_else(
        || "every level of this process's cgroup".to_owned(),
        |quota| quota.source.clone(),
    );
    Found::new(shown.then_some(tightest), source)
}

/// How often the quotas over this process have stopped it so far; `None` if no quota is set, or the host does not count.
///
/// All levels that set a quota are taken together: a sum only grows, so that two looks have a difference, whichever
/// level it was that stopped the process between them.
#[must_use]
pub fn throttling(root: &Path) -> Option<Throttling> {
    let root = Root::folder(root);
    let limiting = levels(root).into_iter().filter(|level| level.millicpus(root).is_some());
    limiting.filter_map(|level| level.throttling(root)).reduce(|one, other| Throttling {
        periods: one.periods.saturating_add(other.periods),
        throttled_periods: one.throttled_periods.saturating_add(other.throttled_periods),
        throttled_ns: Nanos(one.throttled_ns.0.saturating_add(other.throttled_ns.0)),
    })
}

impl Level {
    fn quota_file(&self) -> &'static str {
        match self.version {
            Version::One => "cpu.cfs_quota_us",
            Version::Two => "cpu.max",
        }
    }

    fn millicpus(&self, root: Root<'_>) -> Option<u64> {
        let read = |file: &str| root.read(&format!("{}/{file}", self.folder));
        let text = read(self.quota_file())?;
        match self.version {
            Version::One => millicpus(&text, &read("cpu.cfs_period_us")?),
            Version::Two => {
                let (quota, period) = text.split_once(' ')?;
                millicpus(quota, period)
            }
        }
    }

    fn throttling(&self, root: Root<'_>) -> Option<Throttling> {
        let text = root.read(&format!("{}/cpu.stat", self.folder))?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            value.trim().parse::<u64>().ok()
        };
        let throttled_ns = match self.version {
            Version::One => field("throttled_time")?,
            Version::Two => field("throttled_usec")?.saturating_mul(1000),
        };
        Some(Throttling {
            periods: field("nr_periods")?,
            throttled_periods: field("nr_throttled")?,
            throttled_ns: Nanos(throttled_ns),
        })
    }
}

/// A quota in thousandths of a CPU; `None` for `max`, `-1` and nonsense.
fn millicpus(quota_us: &str, period_us: &str) -> Option<u64> {
    let quota: u64 = quota_us.trim().parse().ok()?;
    let period: u64 = period_us.trim().parse().ok().filter(|&period| period > 0)?;
    let millicpus = u64::try_from(u128::from(quota) * 1000 / u128::from(period)).ok()?;
    (quota > 0 && millicpus <= u64::from(fleetmark_proto::limits::CPUS) * 1000)
        .then(|| millicpus.max(1))
}

/// Every cgroup over this process that can set a quota, the innermost of each tree first.
fn levels(root: Root<'_>) -> Vec<Level> {
    let Some(text) = root.read("proc/self/cgroup") else {
        return Vec::new();
    };
    let Ok(ProcessCGroups(memberships)) = ProcessCGroups::from_buf_read(text.as_bytes()) else {
        return Vec::new();
    };
    let mounts = mounts(root);
    memberships
        .iter()
        .filter_map(|membership| {
            let version = match &membership.controllers[..] {
                [] => Version::Two,
                [only] if only.is_empty() => Version::Two,
                controllers if controllers.iter().any(|name| name == "cpu") => Version::One,
                _ => return None,
            };
            let mut mounts = mounts.iter().filter(|mount| mount.version == version);
            let first = mounts.clone().next()?;
            let path = Path::new(&membership.pathname);
            let mount = mounts.find(|mount| mount.below(root, path).is_some()).unwrap_or(first);
            Some(mount.levels(root, path))
        })
        .flatten()
        .collect()
}

/// Where a tree of cgroups can be seen.
#[derive(Debug)]
struct Mount {
    version: Version,
    /// The cgroup that is mounted, as a path from the root of the tree.
    top: PathBuf,
    /// Where, without the leading slash.
    point: String,
}

impl Mount {
    /// The cgroup with this path and those above it, as far as they can be seen.
    fn levels(&self, root: Root<'_>, path: &Path) -> Vec<Level> {
        // A path from before the process entered its namespace lies outside of what is mounted here: then the
        // outermost visible cgroup is the container's own.
        self.below(root, path)
            .unwrap_or(Path::new(""))
            .ancestors()
            .map(|level| Level {
                version: self.version,
                folder: join(&self.point, level),
                path: format!("/{}", level.display()),
            })
            .collect()
    }
}

impl Mount {
    /// Where the cgroup with this path lies under the mount point, if it can be seen there.
    fn below<'p>(&self, root: Root<'_>, path: &'p Path) -> Option<&'p Path> {
        let below = path.strip_prefix(&self.top).ok()?;
        // Seen from within a namespace, what lies outside of it begins with `/..`.
        let inside = below.components().all(|part| matches!(part, Component::Normal(_)));
        (inside && root.exists(&join(&self.point, below))).then_some(below)
    }
}

fn join(point: &str, below: &Path) -> String {
    Path::new(point).join(below).display().to_string().trim_end_matches('/').to_owned()
}

fn mounts(root: Root<'_>) -> Vec<Mount> {
    let text = root.read("proc/self/mountinfo").unwrap_or_default();
    let mount = |line: &str| {
        let MountInfo { root: top, mount_point, fs_type, super_options, .. } =
            MountInfo::from_line(line).ok()?;
        let version = match fs_type.as_str() {
            "cgroup2" => Version::Two,
            "cgroup" if super_options.contains_key("cpu") => Version::One,
            _ => return None,
        };
        let point = mount_point.to_str()?.trim_start_matches('/').to_owned();
        Some(Mount { version, top: PathBuf::from(top), point })
    };
    text.lines().filter_map(mount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_fractions() {
        assert_eq!(millicpus("150000", "100000"), Some(1500));
        assert_eq!(millicpus("50000", "100000"), Some(500));
        assert_eq!(millicpus("1", "1000000"), Some(1), "never nothing");
        for (quota, period) in
            [("max", "100000"), ("-1", "100000"), ("1", "0"), ("", ""), ("99999999999999", "1")]
        {
            assert_eq!(millicpus(quota, period), None, "{quota} {period}");
        }
    }
}
