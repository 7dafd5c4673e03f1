//! Exports, part by part: they are many times as long as what is known of their runs.

use fleetmark_proto::shell::{grid::csv, output::Format};
use serde_json::Value;

use super::RenderError;
use crate::{
    store::StoredRun,
    view::{CellSamples, ExportedRun, Samples},
};

/// A line a sample, in CSV or as a list of JSON's objects; a part a run.
///
/// # Errors
///
/// If the form is neither.
pub fn samples(
    samples: &Samples<'_>,
    format: Format,
) -> Result<impl Iterator<Item = String>, RenderError> {
    let form: &dyn Form = match format {
        Format::Csv => &Csv,
        Format::Json => &Json,
        Format::Table | Format::Markdown => return Err(RenderError::NoSuchForm),
    };
    let names = Names {
        of_run: samples.of_run(),
        of_cell: samples.of_cell().into_iter().map(str::to_owned).collect(),
        of_sample: samples.of_sample().map(str::to_owned),
    };
    let begin = form.begin(&names);
    let end = form.end().to_owned();
    let mut is_first = true;
    let runs = samples.runs().iter().map(move |run| {
        let of_run = form.fields(&names.of_run, samples.run(run));
        let mut part = String::new();
        for CellSamples { values, rounds } in samples.cells(run) {
            let of_cell = form.fields(&names.of_cell, values);
            for (round, sample) in rounds {
                let of_sample = form.fields(&names.of_sample, vec![round.into(), sample.into()]);
                part.push_str(&form.line([&of_run, &of_cell, &of_sample], is_first));
                is_first = false;
            }
        }
        part
    });
    Ok(std::iter::once(begin).chain(runs).chain([end]))
}

/// Whole reports, as a list in JSON; a part a run.
///
/// # Errors
///
/// If another form is asked for.
pub fn reports(
    runs: &[&StoredRun],
    format: Format,
) -> Result<impl Iterator<Item = String>, RenderError> {
    if format != Format::Json {
        return Err(RenderError::NoSuchForm);
    }
    let parts = runs.iter().enumerate().map(|(place, run)| {
        // What a report is made of has no value that JSON refuses.
        let text = serde_json::to_string(&ExportedRun::of(run)).unwrap_or_default();
        Json::element(&text, place == 0)
    });
    Ok(std::iter::once("[".to_owned()).chain(parts).chain(["\n]\n".to_owned()]))
}

/// The names of the columns.
struct Names {
    of_run: Vec<String>,
    of_cell: Vec<String>,
    of_sample: [String; 2],
}

/// How lines are written.
trait Form {
    /// What stands before the first line.
    fn begin(&self, names: &Names) -> String;
    /// A part of a line.
    fn fields(&self, names: &[String], values: Vec<Value>) -> String;
    /// A line of its three parts.
    fn line(&self, parts: [&str; 3], is_first: bool) -> String;
    /// What stands behind the last line.
    fn end(&self) -> &'static str;
}

struct Csv;

impl Csv {
    fn record(fields: &[String]) -> String {
        csv(std::iter::once(fields)).trim_end_matches('\n').to_owned()
    }
}

impl Form for Csv {
    fn begin(&self, Names { of_run, of_cell, of_sample }: &Names) -> String {
        [&of_run[..], of_cell, of_sample].map(Self::record).join(",") + "\n"
    }

    fn fields(&self, _: &[String], values: Vec<Value>) -> String {
        let texts = values.into_iter().map(|value| match value {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        });
        Self::record(&texts.collect::<Vec<_>>())
    }

    fn line(&self, parts: [&str; 3], _: bool) -> String {
        parts.join(",") + "\n"
    }

    fn end(&self) -> &'static str {
        ""
    }
}

struct Json;

impl Json {
    fn element(text: &str, is_first: bool) -> String {
        let comma = if is_first { "" } else { "," };
        format!("{comma}\n{text}")
    }
}

impl Form for Json {
    fn begin(&self, _: &Names) -> String {
        "[".to_owned()
    }

    fn fields(&self, names: &[String], values: Vec<Value>) -> String {
        let field =
            |(name, value): (&String, Value)| format!("{}:{value}", Value::from(name.as_str()));
        names.iter().zip(values).map(field).collect::<Vec<_>>().join(",")
    }

    fn line(&self, parts: [&str; 3], is_first: bool) -> String {
        Self::element(&format!("{{{}}}", parts.join(",")), is_first)
    }

    fn end(&self) -> &'static str {
        "\n]\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{testing, view, view::Filter};

    fn exported(format: Format) -> String {
        let mut report = testing::pair("a", 0.5);
        report.host.name = "a, \"b\"".into();
        let run = StoredRun { received_at: report.ended_at, sent_at: None, report };
        let (runs, filter) = ([run], Filter::default());
        samples(&view::samples(&runs, &filter), format).unwrap().collect()
    }

    #[test]
    fn both_forms_say_the_same() {
        let json: Vec<serde_json::Map<String, Value>> =
            serde_json::from_str(&exported(Format::Json)).unwrap();
        assert_eq!(json.len(), 2 * 12);
        assert_eq!(json[0]["host.name"], "a, \"b\"");
        assert_eq!((&json[0]["round"], &json[0]["sample_ns"]), (&0.into(), &5_000_000.into()));
        assert_eq!(json[0]["kernel"], Value::Null);
        let csv = exported(Format::Csv);
        assert!(csv.starts_with("report_id,received_at,sent_at,started_at,ended_at,host.id,host."));
        let names = csv.lines().next().unwrap();
        assert!(names.ends_with(",round,sample_ns") && names.contains(",label.rack,"), "{names}");
        assert_eq!(names.split(',').count(), json[0].len());
        assert_eq!(csv.lines().count(), 1 + 2 * 12);
        assert!(csv.contains(",a,\"a, \"\"b\"\"\","), "{csv}");
        assert!(csv.lines().nth(1).unwrap().ends_with(",0,5000000"), "{csv}");
    }

    #[test]
    fn nothing_is_well_formed_too() {
        let filter = Filter::default();
        let of =
            |format| -> String { samples(&view::samples(&[], &filter), format).unwrap().collect() };
        assert_eq!(serde_json::from_str::<Vec<Value>>(&of(Format::Json)).unwrap().len(), 0);
        assert_eq!(of(Format::Csv).lines().count(), 1);
        assert!(reports(&[], Format::Csv).is_err());
        assert_eq!(reports(&[], Format::Json).unwrap().collect::<String>(), "[\n]\n");
    }
}
