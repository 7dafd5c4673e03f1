//! Pages for a browser: one file, with its pictures and its style within. No script, and nothing from elsewhere.
//!
//! The pieces are functions over views: `page` is what stands around them, `chart` are the pictures, and the rest a view each.

mod advise;
mod chart;
mod compare;
mod dashboard;
mod fleet;
mod history;
mod host;
mod outliers;
mod page;
mod profile;

pub use advise::advise;
pub use compare::compare;
pub use dashboard::{Choosing, Frame, arrivals, fleet, framed, hosts, message, summary};
pub use history::history;
pub use host::host;
pub use outliers::outliers;
pub use page::{Links, Page, document};

use fleetmark_proto::unit::count;
use maud::html;

use crate::view::{Advice, Spread, View};

/// Medians per profile, with where each host stands and what is advised.
#[must_use]
pub fn report(view: &View, spreads: &[Spread], advice: &Advice, links: Links) -> Page {
    let title = "fleetmark report".to_owned();
    let hosts: u64 = view.profiles.iter().map(|profile| profile.hosts).sum();
    let runs: u64 = view.profiles.iter().map(|profile| profile.runs).sum();
    let holds = format!(
        "{}, {}, {}",
        page::many(hosts, "host"),
        page::many(runs, "run"),
        page::many(count(view.profiles.len()), "group")
    );
    let body = html! {
        (page::top(&title, &holds, view.generated_at, &page::asked(&view.filter)))
        (page::contents(view))
        (chart::marks())
        main {
            (fleet::medians(view))
            (fleet::scaling(view))
            @for (profile, number) in view.profiles.iter().zip(1_u32..) {
                (profile::section(view, profile, (spreads, advice, links), number))
            }
            (page::how_to_read(view.against))
        }
    };
    Page { title, body }
}

#[cfg(test)]
mod tests;
