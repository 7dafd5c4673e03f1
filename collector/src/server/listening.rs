//! What the server listens on.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    net::SocketAddr,
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use fleetmark_proto::limits;
use rustix::{fs::Mode, process::umask};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::ServeError;

/// All that a server listens on.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For other hosts, or for this one over loopback.
    pub network: Vec<TcpListener>,
    /// For whoever may open its file.
    pub socket: Option<Socket>,
    /// For browsers and scrapers.
    pub http: Vec<TcpListener>,
}

impl From<TcpListener> for Listeners {
    fn from(listener: TcpListener) -> Self {
        Self { network: vec![listener], ..Self::default() }
    }
}

impl From<Socket> for Listeners {
    fn from(socket: Socket) -> Self {
        Self { socket: Some(socket), ..Self::default() }
    }
}

/// A Unix socket. Its file, which only its owner may open, goes with it.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Who comes next clears away what is left.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether plaintext may be spoken there.
///
/// # Errors
///
/// If other hosts can reach it and nobody said `--insecure`.
pub fn check_listen(address: SocketAddr, insecure: bool) -> Result<(), ServeError> {
    if insecure || address.ip().is_loopback() {
        return Ok(());
    }
    Err(ServeError::NeedsInsecure(address))
}

/// Listens. Only within a runtime of Tokio's.
///
/// # Errors
///
/// If the address is taken or cannot be had.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    listen(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::InUse(address),
        _ => ServeError::Listen { address, source },
    })
}

/// The same for browsers and scrapers. Only within a runtime of Tokio's.
///
/// # Errors
///
/// If the address is taken or cannot be had.
pub fn bind_http(address: SocketAddr) -> Result<TcpListener, ServeError> {
    bind(address).map_err(|error| match error {
        ServeError::InUse(address) => ServeError::HttpInUse(address),
        error => error,
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the last of the old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // After an outage all agents come at once; those that found no place in the queue would be reset by the kernel.
    socket.listen(limits::BACKLOG)
}

/// Listens on a Unix socket that only this user may open. Only within a runtime of Tokio's.
///
/// # Errors
///
/// If somebody listens there, something else is there, or it cannot be had.
pub fn bind_socket(path: &Path) -> Result<Socket, ServeError> {
    listen_unix(path).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::SocketInUse(path.to_owned()),
        _ => ServeError::Socket { path: path.to_owned(), source },
    })
}

fn listen_unix(path: &Path) -> io::Result<Socket> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    match fs::symlink_metadata(path) {
        Ok(data) if data.file_type().is_socket() => match UnixStream::connect(path) {
            // Left behind by one that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        },
        Ok(_) => return Err(io::Error::other("something else is there")),
        Err(_) => {}
    }
    // At no time may another user open it.
    let before = umask(Mode::RWXG | Mode::RWXO);
    let listener = UnixListener::bind(path);
    umask(before);
    let socket = Socket { listener: listener?, path: path.to_owned() };
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(socket)
}
