//! Pages for a browser: one file, with its pictures and its style within. No script, and nothing from elsewhere.
//!
//! The pieces are functions over views: `page` is what stands around them, `chart` are the pictures, and the rest a view each.

mod chart;
mod fleet;
mod page;
mod profile;

use maud::html;

use crate::view::{Advice, Spread, View};

/// A report as a page.
pub(super) fn report(view: &View, spreads: &[Spread], advice: &Advice) -> String {
    let body = html! {
        (page::top("fleetmark report", view))
        (page::contents(view))
        (chart::marks())
        main {
            (fleet::medians(view))
            (fleet::scaling(view))
            @for (profile, number) in view.profiles.iter().zip(1_u32..) {
                (profile::section(view, profile, (spreads, advice), number))
            }
            (page::how_to_read(view.against))
        }
    };
    page::document("fleetmark report", &body).into_string()
}

#[cfg(test)]
mod tests;
