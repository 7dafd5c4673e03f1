//! Noise that a seed gives again.

use fleetmark_proto::{id::ReportId, unit::Nanos};
use jiff::Timestamp;

/// `SplitMix64`: enough for noise.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    pub(super) fn share(&mut self) -> f64 {
        Nanos(self.next() >> 11).to_f64() / Nanos(1 << 53).to_f64()
    }

    /// About 1, with a standard deviation of about this share of it.
    pub(super) fn about_one(&mut self, deviation: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.share()).sum();
        1.0 + deviation * (sum - 6.0)
    }

    /// The id of a report that was made then.
    pub(super) fn report_id(&mut self, made_at: Timestamp) -> Option<ReportId> {
        let milliseconds = u64::try_from(made_at.as_millisecond()).ok()?;
        let [_, _, time @ ..] = milliseconds.to_be_bytes();
        let (first, last) = (self.next().to_be_bytes(), self.next().to_be_bytes());
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&time);
        bytes[6..8].copy_from_slice(&first[..2]);
        bytes[8..].copy_from_slice(&last);
        bytes[6] = 0x70 | bytes[6] & 0x0f;
        bytes[8] = 0x80 | bytes[8] & 0x3f;
        ReportId::from_bytes(&bytes).ok()
    }
}
