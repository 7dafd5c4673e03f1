//! Where results go, and in which form.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum, builder::PossibleValue};

use super::{
    look::Look,
    screen::{Color, Screen},
};
use crate::token;

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs; the fields are documented.
    Json,
    /// For spreadsheets, with a line of column names.
    Csv,
    /// For documents.
    Markdown,
}

/// The form of a result that can be a page, too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PageFormat {
    /// As other results.
    Plain(Format),
    /// For a browser: one file with its pictures.
    Html,
}

/// What a result is made as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Words and tables.
    People(Look),
    /// Fields.
    Json,
    /// Lines of values.
    Csv,
}

/// The same of a result that can be a page, too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PageForm {
    /// As other results.
    Plain(Form),
    /// A page.
    Html,
}

/// The forms that a command's result may have.
pub trait Forms: ValueEnum + Default + Copy + Send + Sync + 'static {
    /// What a result is made as.
    type Form;

    /// What a result is made as if people read it here.
    fn on(self, screen: Screen) -> Self::Form;

    /// Whether people read it. They are told in words of what is not there; programs want it empty.
    fn is_for_people(self) -> bool;
}

impl Forms for Format {
    type Form = Form;

    fn on(self, screen: Screen) -> Form {
        match self {
            Self::Table => Form::People(Look::Text(screen)),
            Self::Markdown => Form::People(Look::Markdown),
            Self::Json => Form::Json,
            Self::Csv => Form::Csv,
        }
    }

    fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Markdown)
    }
}

impl Forms for PageFormat {
    type Form = PageForm;

    fn on(self, screen: Screen) -> PageForm {
        match self {
            Self::Plain(format) => PageForm::Plain(format.on(screen)),
            Self::Html => PageForm::Html,
        }
    }

    fn is_for_people(self) -> bool {
        match self {
            Self::Plain(format) => format.is_for_people(),
            Self::Html => true,
        }
    }
}

impl Default for PageFormat {
    fn default() -> Self {
        Self::Plain(Format::default())
    }
}

impl ValueEnum for PageFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Plain(Format::Table),
            Self::Plain(Format::Json),
            Self::Plain(Format::Csv),
            Self::Plain(Format::Markdown),
            Self::Html,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Plain(format) => format.to_possible_value(),
            Self::Html => {
                Some(PossibleValue::new("html").help("For a browser: one file with its pictures"))
            }
        }
    }
}

/// The flags that every command with a result has.
#[derive(Args, Clone, Debug)]
pub struct OutputArgs<F: Forms = Format> {
    /// Form of the result; a table leaves details out where the terminal is too narrow for them
    #[arg(short, long, value_enum, default_value_t)]
    pub format: F,
    /// Write the result to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Colour what a table says
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
}

/// The result could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {place}")]
pub struct WriteError {
    place: String,
    source: io::Error,
}

impl<F: Forms> OutputArgs<F> {
    /// What the result is made as, for where it goes.
    #[must_use]
    pub fn form(&self) -> F::Form {
        self.format.on(Screen::detect(self.color, self.output.is_some()))
    }

    /// Writes a result. A reader that has gone away is no error.
    ///
    /// # Errors
    ///
    /// If the file or stream cannot be written.
    pub fn write(&self, text: &str) -> Result<(), WriteError> {
        match &self.output {
            Some(path) => fs::write(path, text)
                .map_err(|source| WriteError { place: path.display().to_string(), source }),
            None => print(text),
        }
    }

    /// Writes a result part by part, each as it is made. A reader that has gone away is no error, and gets no further part.
    ///
    /// # Errors
    ///
    /// If the file or stream cannot be written.
    pub fn write_parts(&self, parts: impl IntoIterator<Item = String>) -> Result<(), WriteError> {
        let Some(path) = &self.output else {
            return told(write_all(io::stdout().lock(), parts));
        };
        File::create(path)
            .and_then(|file| write_all(file, parts))
            .map_err(|source| WriteError { place: path.display().to_string(), source })
    }

    /// Writes a result that is a secret: a file of it is for its owner alone.
    ///
    /// # Errors
    ///
    /// If the file or stream cannot be written.
    pub fn write_private(&self, text: &str) -> Result<(), WriteError> {
        match &self.output {
            Some(path) => private(path, text)
                .map_err(|source| WriteError { place: path.display().to_string(), source }),
            None => print(text),
        }
    }
}

fn private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // What others put there is theirs to read until now, and holds nothing yet; a pipe or a terminal has no such mode.
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    file.write_all(text.as_bytes())
}

/// Writes to standard output. A reader that has gone away is no error.
///
/// # Errors
///
/// If the stream cannot be written for any other reason.
pub fn print(text: &str) -> Result<(), WriteError> {
    let mut stream = io::stdout().lock();
    told(stream.write_all(text.as_bytes()).and_then(|()| stream.flush()))
}

fn write_all(stream: impl io::Write, parts: impl IntoIterator<Item = String>) -> io::Result<()> {
    let mut stream = BufWriter::new(stream);
    parts.into_iter().try_for_each(|part| stream.write_all(part.as_bytes()))?;
    stream.flush()
}

/// What came of writing to standard output.
fn told(written: io::Result<()>) -> Result<(), WriteError> {
    match written {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(WriteError { place: "standard output".to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Tells a person something beside the result, on standard error. A token that was typed where it does not belong is not
/// repeated.
pub fn tell(line: impl std::fmt::Display) {
    // Nobody is left to hear of a stream that cannot be written.
    let _ = writeln!(io::stderr(), "{}", token::masked(&line.to_string()));
}

/// A log that shows no token. Each line must be written at once.
#[derive(Clone, Debug)]
pub struct Masked<W>(pub W);

impl<W: io::Write> io::Write for Masked<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line)?;
        Ok(line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(token::masked(&text).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_no_token() {
        let mut log = Masked(Vec::new());
        log.write_all("refused ä at fmj1_abc: no\n".as_bytes()).unwrap();
        assert_eq!(log.write(b"fmb1_abc").unwrap(), 8);
        assert_eq!(String::from_utf8(log.0).unwrap(), "refused ä at fmj1_…: no\nfmb1_…");
    }
}
