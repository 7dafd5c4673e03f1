//! What `init` finds in use: a collector that served before there was an authority, and what it stored.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Plan, socket_path};
use crate::store::StoreUrl;

/// Where runs are stored unless somebody says otherwise, in the folder in which `serve` runs.
const USUAL_STORE: &str = "fleetmark.db";
/// How long an address of this host may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

/// What was in use before.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Where somebody listens already.
    place: Option<String>,
    /// A store that is left behind.
    store: Option<PathBuf>,
}

impl Company {
    pub(super) fn of(plan: &Plan, state_dir: &Path) -> Self {
        let socket = socket_path(state_dir);
        let place = match UnixStream::connect(&socket) {
            Ok(_) => Some(socket.display().to_string()),
            Err(_) => {
                plan.listen.iter().find(|address| answers(**address)).map(ToString::to_string)
            }
        };
        let StoreUrl::Sqlite(new) = &plan.store;
        let usual = std::path::absolute(USUAL_STORE).unwrap_or(USUAL_STORE.into());
        let store = (usual != *new && usual.is_file()).then_some(usual);
        Self { place, store }
    }

    /// What is to be done about it; nothing, if nothing was in use.
    pub(super) fn told(&self, plan: &Plan) -> String {
        let mut told = String::new();
        if let Some(place) = &self.place {
            let _ = write!(
                told,
                "\nSomebody listens at {place} already: if that is a `fleetmark-collector serve`, restart it, as until then it \
                 knows nothing of all this.\n"
            );
        }
        if let Some(store) = &self.store {
            let StoreUrl::Sqlite(new) = &plan.store;
            let (store, new) = (store.display(), new.display());
            let _ = write!(
                told,
                "\nWhat was stored before stays in {store}, and from now on all goes to {new}: read the old with \
                 --store sqlite:{store}, or say `store = \"sqlite:{store}\"` in {settings} to go on with it.\n",
                settings = plan.path.display()
            );
        }
        told
    }
}

/// Whether somebody listens there, asked from this host.
fn answers(address: SocketAddr) -> bool {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), PATIENCE).is_ok()
}
