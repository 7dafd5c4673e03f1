//! What is typed to set a collector up and to have it serve.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use fleetmark_proto::shell::value;
use rustls::pki_types::ServerName;
use url::Url;

use super::StoreArgs;
use crate::store::StoreUrl;

/// Flags of `init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// A name or an address by which agents reach this collector (repeatable) [default: the name of this host]
    #[arg(long, value_name = "HOST", value_delimiter = ',', value_parser = name)]
    pub name: Vec<ServerName<'static>>,
    /// Where `serve` will listen for agents (repeatable)
    #[arg(long, value_name = "ADDR", value_delimiter = ',', default_value = "0.0.0.0:7600")]
    pub listen: Vec<SocketAddr>,
    /// Where agents will reach it [default: https:// with the first name and the port of --listen]
    #[arg(long, value_name = "URL", value_parser = value::collector_url)]
    pub endpoint: Option<Url>,
    /// Where runs will be kept [default: a file in the state folder]
    #[arg(long, value_name = "URL")]
    pub store: Option<StoreUrl>,
}

fn name(text: &str) -> Result<ServerName<'static>, String> {
    let wrong = |_| "must be a host's name or address, such as collector.example".to_owned();
    ServerName::try_from(text.to_owned()).map_err(wrong)
}

/// Flags of `serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Where to listen for agents, over gRPC (repeatable)
    #[arg(long, value_name = "ADDR", value_delimiter = ',', default_value = "127.0.0.1:7600")]
    pub listen: Vec<SocketAddr>,
    /// Serve pages for a browser, /metrics and /healthz here, over HTTP (repeatable) [without ADDR: 127.0.0.1:7601]
    #[arg(long, value_name = "ADDR", value_delimiter = ',', num_args = 0..=1, default_missing_value = "127.0.0.1:7601")]
    pub http: Vec<SocketAddr>,
    /// Speak plaintext, with other hosts too. Before `init` whoever can connect may then report and read; after it, bearer
    /// tokens count, for a proxy in front that speaks TLS
    #[arg(long)]
    pub insecure: bool,
    /// Let callers on this host report and read without credentials, after `init` too. A proxy on this host lets everybody in
    #[arg(long)]
    pub trust_loopback: bool,
    /// Listen on this Unix socket too: whoever may open it may do all [default after `init`: collector.sock in the state folder]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Show this certificate, in PEM, instead of one of the collector's own authority. Read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of --tls-cert, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Accept certificates of these authorities too, in PEM. They name who has them such as fleetmark://agent/HOST-ID, as a URI
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// Where agents reach this collector, for the tokens that it makes
    #[arg(long, value_name = "URL", value_parser = value::collector_url)]
    pub endpoint: Option<Url>,
    /// Where runs are kept.
    #[command(flatten)]
    pub store: StoreArgs,
}
