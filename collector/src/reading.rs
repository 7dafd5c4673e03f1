//! The commands that read: from what was typed to what is printed.

use fleetmark_agent::command::Stopped;
use fleetmark_proto::shell::{
    Exit, one_line,
    output::{Form, Format, Forms, OutputArgs, PageForm, tell},
};
use jiff::Timestamp;

use crate::{
    args::{
        AdviseArgs, CompareArgs, DiffArgs, ExportArgs, HistoryArgs, HostArgs, ListArgs,
        OutliersArgs, ReportArgs, SourceArgs,
    },
    render::{
        self, RenderError,
        html::{self, Links},
    },
    source::Source,
    stats,
    store::{StoreError, StoredRun},
    view::{self, Filter, NotComparable, NotOne, NotOneHost, Question, View},
};

pub(crate) async fn report(arguments: ReportArgs) -> Result<Exit, Stopped> {
    let ReportArgs { source: from, select, by, against, output } = arguments;
    let now = Timestamp::now();
    let filter = select.filter(now);
    let question = Question { by, against };
    let source = source(&from).await?;
    if let PageForm::Plain(form) = output.form()
        && let Some(view) = kept(&source, &filter, &question, now).await?
    {
        output.write(&render::medians(&view, form)?)?;
        return Ok(Exit::Success);
    }
    let runs = matching(&source, &filter).await?;
    let view = view::medians(&runs, &filter, &question, now);
    let text = match output.form() {
        PageForm::Plain(form) => render::medians(&view, form)?,
        PageForm::Html => {
            let spreads = view::spreads(&runs, &filter, &question);
            let advice = view::advise(&runs, &filter, now);
            html::report(&view, &spreads, &advice, Links::None).file()
        }
    };
    if view.profiles.is_empty() {
        return nothing_matches(&source, &filter, &output, &text).await;
    }
    output.write(&text)?;
    Ok(Exit::Success)
}

pub(crate) async fn advise(arguments: AdviseArgs) -> Result<Exit, Stopped> {
    let AdviseArgs { source: from, select, output } = arguments;
    let now = Timestamp::now();
    let filter = select.filter(now);
    let source = source(&from).await?;
    let runs = matching(&source, &filter).await?;
    let advice = view::advise(&runs, &filter, now);
    let text = match output.form() {
        PageForm::Plain(form) => render::advice(&advice, form)?,
        PageForm::Html => html::advise(&advice, Links::None).file(),
    };
    if advice.profiles.is_empty() {
        return nothing_matches(&source, &filter, &output, &text).await;
    }
    output.write(&text)?;
    Ok(Exit::Success)
}

pub(crate) async fn compare(arguments: CompareArgs) -> Result<Exit, Stopped> {
    let CompareArgs { sides, source: from, select, output } = arguments;
    let now = Timestamp::now();
    let filter = select.filter(now);
    let source = source(&from).await?;
    let runs = whole(source.runs(view::earliest(&sides, &filter, now)).await?);
    let line = match view::compare(&runs, &filter, &sides, now) {
        Ok(comparison) => {
            output.write(&match output.form() {
                PageForm::Plain(form) => render::comparison(&comparison, form)?,
                PageForm::Html => html::compare(&comparison, Links::None).file(),
            })?;
            return Ok(Exit::Success);
        }
        Err(
            wrong @ (NotComparable::Twice(_) | NotComparable::Profile(NotOne::Ambiguous { .. })),
        ) => return Err(Stopped::usage(&wrong)),
        Err(nothing) => {
            let all = whole(source.runs(None).await?);
            view::only_earlier(&all, &filter, &sides, now).unwrap_or_else(|| {
                match runs.is_empty() {
                    true => view::what_would_match(&all, &filter),
                    false => nothing.to_string(),
                }
            })
        }
    };
    tell(line);
    Ok(Exit::NoMatch)
}

pub(crate) async fn outliers(arguments: OutliersArgs) -> Result<Exit, Stopped> {
    let OutliersArgs { source: from, select, by, output } = arguments;
    let now = Timestamp::now();
    let filter = select.filter(now);
    let source = source(&from).await?;
    let runs = matching(&source, &filter).await?;
    let view = view::outliers(&runs, &filter, &by, now);
    let text = match output.form() {
        PageForm::Plain(form) => render::outliers(&view, form)?,
        PageForm::Html => {
            let spreads = view::spreads_of_all(&runs, &filter, &by);
            html::outliers(&view, &spreads, Links::None).file()
        }
    };
    if view.groups.is_empty() {
        return nothing_matches(&source, &filter, &output, &text).await;
    }
    output.write(&text)?;
    Ok(Exit::Success)
}

pub(crate) async fn history(arguments: HistoryArgs) -> Result<Exit, Stopped> {
    let HistoryArgs { source: from, select, by, bucket, output } = arguments;
    let now = Timestamp::now();
    let filter = select.filter(now);
    let source = source(&from).await?;
    let runs = matching(&source, &filter).await?;
    let view = view::history(&runs, &filter, &by, bucket, now);
    let text = match output.form() {
        PageForm::Plain(form) => render::history(&view, form)?,
        PageForm::Html => html::history(&view, Links::None).file(),
    };
    if view.subjects.is_empty() {
        return nothing_matches(&source, &filter, &output, &text).await;
    }
    output.write(&text)?;
    Ok(Exit::Success)
}

pub(crate) async fn host(arguments: HostArgs) -> Result<Exit, Stopped> {
    let HostArgs { host: wanted, since, source: from, output } = arguments;
    let now = Timestamp::now();
    let runs = whole(source(&from).await?.runs(None).await?);
    match view::host(&runs, &wanted, Some(since.before(now)), now) {
        Ok(view) => {
            output.write(&match output.form() {
                PageForm::Plain(form) => render::host(&view, form)?,
                PageForm::Html => {
                    let (spreads, history) = view::around(&view, &runs, now);
                    html::host(&view, &spreads, &history, Links::None).file()
                }
            })?;
            Ok(Exit::Success)
        }
        Err(unknown @ NotOneHost::Unknown { .. }) => {
            tell(unknown);
            Ok(Exit::NoMatch)
        }
        Err(ambiguous @ NotOneHost::Ambiguous { .. }) => Err(Stopped::usage(&ambiguous)),
    }
}

/// Medians of hosts from what is kept of them, where that answers; what would match where nothing does is left to the runs.
async fn kept(
    source: &Source,
    filter: &Filter,
    question: &Question,
    now: Timestamp,
) -> Result<Option<View>, Stopped> {
    match source.kept_medians(filter, question, now).await {
        Ok(view) => Ok(view.filter(|view| !view.profiles.is_empty())),
        Err(damaged @ StoreError::Corrupt { .. }) => {
            let damaged = one_line(&damaged);
            tell(format_args!(
                "warning: {damaged}; all runs are read instead; `fleetmark-collector migrate --rebuild` mends what is kept beside them"
            ));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The runs of the window that is asked for. A start of several ids is wrong usage, as nobody can tell which is meant.
async fn matching(source: &Source, filter: &Filter) -> Result<Vec<StoredRun>, Stopped> {
    let runs = whole(source.runs(filter.since).await?);
    match view::check_profiles(&runs, &filter.profile) {
        Err(ambiguous @ NotOne::Ambiguous { .. }) => Err(Stopped::usage(&ambiguous)),
        // Whether there was one before this window is told with what would match.
        Err(NotOne::Unknown { .. }) | Ok(()) => Ok(runs),
    }
}

/// Says that nothing matches, and what would.
async fn nothing_matches<F: Forms>(
    source: &Source,
    filter: &Filter,
    output: &OutputArgs<F>,
    text: &str,
) -> Result<Exit, Stopped> {
    let all = whole(source.runs(None).await?);
    tell(view::why_nothing(&all, filter));
    if !output.format.is_for_people() {
        output.write(text)?;
    }
    Ok(Exit::NoMatch)
}

pub(crate) async fn profiles(arguments: &ListArgs) -> Result<Exit, Stopped> {
    list(arguments, |runs, form| render::profiles(&view::profiles(runs), form)).await
}

pub(crate) async fn hosts(arguments: &ListArgs) -> Result<Exit, Stopped> {
    list(arguments, |runs, form| render::hosts(&view::hosts(runs), form)).await
}

pub(crate) async fn export(arguments: ExportArgs) -> Result<Exit, Stopped> {
    let ExportArgs { source: from, select, reports, output } = arguments;
    let filter = select.filter(Timestamp::now());
    // Before anything is read, which takes its time.
    if !matches!((reports, output.format), (_, Format::Json) | (false, Format::Csv)) {
        return Err(Stopped::usage(&RenderError::NoSuchForm));
    }
    let source = source(&from).await?;
    let runs = matching(&source, &filter).await?;
    let samples = view::samples(&runs, &filter);
    let parts: Box<dyn Iterator<Item = String>> = match reports {
        true => Box::new(render::reports(samples.runs(), output.format)?),
        false => Box::new(render::samples(&samples, output.format)?),
    };
    if samples.runs().is_empty() {
        return nothing_matches(&source, &filter, &output, &parts.collect::<String>()).await;
    }
    output.write_parts(parts)?;
    Ok(Exit::Success)
}

async fn list(
    arguments: &ListArgs,
    render: impl Fn(&[StoredRun], Form) -> Result<String, RenderError>,
) -> Result<Exit, Stopped> {
    let runs = whole(source(&arguments.source).await?.runs(None).await?);
    let text = render(&runs, arguments.output.form())?;
    finish(&arguments.output, &text, runs.is_empty())
}

pub(crate) async fn profiles_diff(arguments: &DiffArgs) -> Result<Exit, Stopped> {
    let DiffArgs { a, b, list: ListArgs { source: from, output } } = arguments;
    match view::diff(&source(from).await?.runs(None).await?, a, b) {
        Ok(diff) => {
            output.write(&render::profile_diff(&diff, output.form())?)?;
            Ok(Exit::Success)
        }
        Err(unknown @ NotOne::Unknown { .. }) => {
            tell(unknown);
            Ok(Exit::NoMatch)
        }
        Err(ambiguous @ NotOne::Ambiguous { .. }) => Err(Stopped::usage(&ambiguous)),
    }
}

/// Where a command reads.
pub(crate) async fn source(arguments: &SourceArgs) -> Result<Source, Stopped> {
    Source::open(arguments).await.map_err(|error| match error.is_usage() {
        true => Stopped::usage(&error),
        false => Stopped::from(error),
    })
}

/// What was read, with what only all of it together shows.
pub(crate) fn whole(mut runs: Vec<StoredRun>) -> Vec<StoredRun> {
    stats::mark_overlaps(runs.iter_mut().map(|run| &mut run.report));
    runs
}

/// Writes what was asked for. A table of nothing says so instead.
pub(crate) fn finish(output: &OutputArgs, text: &str, nothing: bool) -> Result<Exit, Stopped> {
    if !nothing || !output.format.is_for_people() {
        output.write(text)?;
    }
    if nothing {
        tell("nothing matches");
        return Ok(Exit::NoMatch);
    }
    Ok(Exit::Success)
}
