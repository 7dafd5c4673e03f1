//! Man pages, made from the command line. No I/O.

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Inline, Roff, bold, roman},
};

use crate::shell::Exit;

/// A man page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Page {
    /// The name of its file.
    pub(super) file: String,
    /// In roff.
    pub(super) text: String,
}

/// The pages of a command and of those below it, but for hidden ones.
pub(super) fn pages(command: Command) -> Vec<Page> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let version = command.get_version().unwrap_or_default();
    let source = format!("{} {version}", command.get_name());
    let mut pages = Vec::new();
    add(&command, &source, None, &mut pages);
    pages
}

fn add(command: &Command, source: &str, above: Option<&str>, pages: &mut Vec<Page>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let below: Vec<&Command> = command.get_subcommands().filter(|it| !it.is_hide_set()).collect();
    let related: Vec<String> = below.iter().map(|it| format!("{name}-{}", it.get_name())).collect();
    let related: Vec<&str> = above.into_iter().chain(related.iter().map(String::as_str)).collect();
    pages.push(page(command, source, &related));
    for command in below {
        add(command, source, Some(name), pages);
    }
}

fn page(command: &Command, source: &str, related: &[&str]) -> Page {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    // Writing into memory does not fail.
    let _ = man
        .render_name_section(&mut text)
        .and_then(|()| man.render_synopsis_section(&mut text))
        .and_then(|()| man.render_description_section(&mut text))
        .and_then(|()| man.render_options_section(&mut text))
        .and_then(|()| match command.get_subcommands().any(|it| !it.is_hide_set()) {
            true => man.render_subcommands_section(&mut text),
            false => Ok(()),
        })
        .and_then(|()| closing(source, related).to_writer(&mut text));
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let text = titled(name, source, &String::from_utf8_lossy(&text));
    Page { file: man.get_filename(), text }
}

/// The page with its title. A page that differs by the day of its making could not be compared, so it has no date.
fn titled(name: &str, source: &str, text: &str) -> String {
    // Each part begins with the same two lines, which say how an apostrophe looks.
    let is_preamble =
        |line: &&str| line.starts_with(".ie \\n(.g") || line.starts_with(".el .ds Aq");
    let title = format!(".TH \"{name}\" \"1\" \"\" \"{source}\" \"fleetmark\"");
    let preamble = text.lines().take_while(is_preamble);
    let rest = text.lines().filter(|line| !is_preamble(line));
    let lines = preamble.chain([title.as_str()]).chain(rest);
    lines.flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// What is the same on all pages, and what else to read.
fn closing(source: &str, related: &[&str]) -> Roff {
    let binary = source.split(' ').next().unwrap_or_default();
    let prefix = binary.to_uppercase().replace('-', "_");
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([roman("The first of these that applies:")]);
    for exit in Exit::ALL {
        roff.control("TP", []);
        roff.text([bold(exit.code().to_string())]);
        roff.text([roman(exit.meaning())]);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    roff.control("TP", []);
    roff.text([bold(format!("{prefix}_FLAG"))]);
    roff.text([
        roman("What a flag is that is not typed, such as "),
        bold(format!("{prefix}_STATE_DIR")),
        roman(" for "),
        bold("--state-dir"),
        roman("; without it, what the settings file says."),
    ]);
    roff.control("SH", ["FILES"]);
    roff.control("TP", []);
    roff.text([bold("fleetmark.toml")]);
    let table = binary.trim_start_matches("fleetmark-");
    roff.text([
        roman(format!(
            "Settings: the flags' names are keys of its table [{table}]. It is read in "
        )),
        roman("the state folder, else in /etc/fleetmark. "),
        bold(format!("{binary} config show")),
        roman(" tells where each value comes from."),
    ]);
    if !related.is_empty() {
        roff.control("SH", ["SEE ALSO"]);
        let mut names: Vec<Inline> = Vec::new();
        for name in related {
            let comma = if names.is_empty() { "" } else { ", " };
            names.extend([roman(comma), bold(*name), roman("(1)")]);
        }
        roff.text(names);
    }
    roff
}
