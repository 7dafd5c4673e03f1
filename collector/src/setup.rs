//! The command `init`: makes the collector's authority, and writes down where it is reached.

mod company;
mod settings;

use std::{
    fmt::Write as _,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use fleetmark_agent::{args::GlobalArgs, command::Stopped, memory, private};
use fleetmark_proto::shell::{self, Exit, output, value};
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use toml::Value;
use url::{Host, Url};

use crate::{
    args::InitArgs,
    authority::{Authority, AuthorityError},
    store::{self, Mode, StoreUrl},
};
use company::Company;

/// The settings of hosts that have none in their state folder.
const SYSTEM_SETTINGS: &str = "/etc/fleetmark/fleetmark.toml";

/// The collector's folder within the state folder.
pub(crate) fn collector_folder(state_dir: &Path) -> PathBuf {
    state_dir.join("collector")
}

/// The authority's folder.
pub(crate) fn authority_folder(state_dir: &Path) -> PathBuf {
    collector_folder(state_dir).join("authority")
}

/// The Unix socket of a collector that was set up.
pub(crate) fn socket_path(state_dir: &Path) -> PathBuf {
    collector_folder(state_dir).join("collector.sock")
}

/// What was typed cannot be set up.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("this host does not tell its name; give the collector's as --name")]
    NoName,
    #[error(
        "no certificate would be for {0}, where agents are to reach this collector; give it as --name too"
    )]
    OtherName(String),
    #[error("{0} is no endpoint that hosts can join at; it must be an https URL")]
    NotHttps(Url),
    #[error(
        "{SYSTEM_SETTINGS} has this host's settings, and one in the state folder would hide it; \
         say --config {SYSTEM_SETTINGS} to add to it"
    )]
    Hidden,
    #[error("{} {what}", .path.display())]
    Settings { path: PathBuf, what: String },
}

pub(crate) async fn init(arguments: InitArgs, global: &GlobalArgs) -> Result<Exit, Stopped> {
    memory::keep_private();
    let folder = authority_folder(&global.state_dir);
    if Authority::is_in(&folder) {
        return Err(AuthorityError::Exists(folder).into());
    }
    let plan = Plan::new(arguments, global).map_err(|error| Stopped::usage(&error))?;
    let settings = plan.settings().map_err(|error| Stopped::usage(&error))?;
    let authority = Authority::make(&plan.names, Timestamp::now())?;
    let company = Company::of(&plan, &global.state_dir);
    // The authority is what makes it count, so it comes last.
    write(&plan.path, &settings)?;
    plan.make_store(&global.state_dir).await?;
    authority.save(&folder)?;
    output::print(&plan.told(&authority, global))?;
    output::print(&company.told(&plan))?;
    Ok(Exit::Success)
}

/// What is to be set up.
struct Plan {
    names: Vec<ServerName<'static>>,
    listen: Vec<SocketAddr>,
    endpoint: Url,
    store: StoreUrl,
    /// The settings file.
    path: PathBuf,
}

impl Plan {
    fn new(arguments: InitArgs, global: &GlobalArgs) -> Result<Self, InitError> {
        let InitArgs { name: mut names, listen, endpoint, store } = arguments;
        if names.is_empty() {
            names.push(own_name().ok_or(InitError::NoName)?);
        }
        let port = listen.first().map_or(7600, |address| address.port());
        let endpoint = match endpoint {
            Some(endpoint) => endpoint,
            None => names.first().and_then(|name| url(name, port)).ok_or(InitError::NoName)?,
        };
        if endpoint.scheme() != "https" {
            return Err(InitError::NotHttps(endpoint));
        }
        let host = host(&endpoint).ok_or_else(|| InitError::NotHttps(endpoint.clone()))?;
        if !names.contains(&host) {
            return Err(InitError::OtherName(host.to_str().into_owned()));
        }
        let state_dir = std::path::absolute(&global.state_dir).unwrap_or(global.state_dir.clone());
        let store = store
            .unwrap_or_else(|| StoreUrl::Sqlite(state_dir.join("collector").join("fleetmark.db")));
        let StoreUrl::Sqlite(file) = store;
        let store = StoreUrl::Sqlite(std::path::absolute(&file).unwrap_or(file));
        let own = global.state_dir.join("fleetmark.toml");
        let path = match &global.config {
            Some(path) => path.clone(),
            None if !own.exists() && Path::new(SYSTEM_SETTINGS).exists() => {
                return Err(InitError::Hidden);
            }
            None => own,
        };
        Ok(Self { names, listen, endpoint, store, path })
    }

    /// The settings file with what is to be in it.
    fn settings(&self) -> Result<String, InitError> {
        let wrong = |what| InitError::Settings { path: self.path.clone(), what };
        let before = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
        };
        let listen = self.listen.iter().map(|address| Value::String(address.to_string())).collect();
        let settings = [
            ("listen", Value::Array(listen)),
            ("endpoint", value::collector_text(&self.endpoint).into()),
            ("store", self.store.to_string().into()),
        ];
        settings::with(&before, &settings).map_err(wrong)
    }

    /// Makes the store where there is none, so that tokens can be made before anything is served.
    async fn make_store(&self, state_dir: &Path) -> Result<(), Stopped> {
        let StoreUrl::Sqlite(path) = &self.store;
        if path.exists() {
            return Ok(());
        }
        let folder = collector_folder(state_dir);
        private::folder(&folder)
            .map_err(|source| AuthorityError::File { path: folder.clone(), source })?;
        store::open_both(&self.store, Mode::Write).await?;
        Ok(())
    }

    /// What was done, and what comes next.
    fn told(&self, authority: &Authority, global: &GlobalArgs) -> String {
        let names: Vec<_> = self.names.iter().map(|name| name.to_str()).collect();
        let mut options = String::new();
        let usual = shell::default_state_dir(rustix::process::geteuid().is_root());
        if global.state_dir != usual {
            let _ = write!(options, " --state-dir {}", global.state_dir.display());
        }
        if let Some(path) = &global.config {
            let _ = write!(options, " --config {}", path.display());
        }
        format!(
            "Made an authority (pin {pin}) and a certificate for {names}.\n\
             Agents will reach this collector at {endpoint}; {settings} says so, and where it listens and stores.\n\
             \n\
             Next:\n  \
             fleetmark-collector serve{options}\n  \
             fleetmark-collector token create{options}\n  \
             fleetmark-agent enroll --token-file FILE      on each host, with what that printed\n  \
             fleetmark-agent run               there, to measure and report\n  \
             fleetmark-collector report{options}\n\
             \n\
             Who has {key} can pass for any host: keep a copy safe, and the file for its owner alone.\n",
            pin = authority.pin(),
            names = names.join(", "),
            endpoint = value::collector_text(&self.endpoint),
            settings = self.path.display(),
            key = authority_folder(&global.state_dir).join("ca.key").display(),
        )
    }
}

/// What this host is called.
fn own_name() -> Option<ServerName<'static>> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    ServerName::try_from(name).ok()
}

/// Where a collector with this name is reached.
fn url(name: &ServerName<'_>, port: u16) -> Option<Url> {
    let host = match name {
        ServerName::IpAddress(address) => match IpAddr::from(*address) {
            IpAddr::V6(address) => format!("[{address}]"),
            IpAddr::V4(address) => address.to_string(),
        },
        name => name.to_str().into_owned(),
    };
    Url::parse(&format!("https://{host}:{port}")).ok()
}

/// The name that a certificate must have for this URL.
fn host(url: &Url) -> Option<ServerName<'static>> {
    match url.host()? {
        Host::Domain(name) => ServerName::try_from(name.to_owned()).ok(),
        Host::Ipv4(address) => Some(IpAddr::V4(address).into()),
        Host::Ipv6(address) => Some(IpAddr::V6(address).into()),
    }
}

/// Writes the settings, whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), Stopped> {
    let failed = |error: io::Error| {
        Stopped::from(AuthorityError::File { path: path.to_owned(), source: error })
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let new = path.with_extension("toml.new");
    fs::write(&new, text).map_err(failed)?;
    // Who may read it stays as it was.
    if let Ok(before) = fs::metadata(path) {
        fs::set_permissions(&new, before.permissions()).map_err(failed)?;
    }
    fs::rename(&new, path).map_err(failed)
}
