//! The progress bar: on a terminal only, and only between samples.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::measure::Progress;

/// A bar on standard error, or nothing where that is no terminal. It never draws of its own accord: that would be in
/// the middle of a sample.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
}

impl Bar {
    /// A bar that has not been drawn yet.
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Draws how far the run has come.
    pub fn show(&mut self, progress: Progress<'_>) {
        self.bar.set_length(progress.total);
        self.bar.set_message(progress.next.key.to_string());
        self.bar.set_position(progress.done);
        self.bar.tick();
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}
