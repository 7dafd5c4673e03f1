//! What operators type.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use fleetmark_proto::{
    control::{Network, NewToken},
    id::HostId,
    invalid::Invalid,
    role::Role,
    shell::{
        output::OutputArgs,
        value::{self, Since},
    },
    token::TokenId,
};
use url::Url;

use super::{ListArgs, SourceArgs};

/// How long a token that hosts join with lives, unless its maker says otherwise.
const JOIN_TTL: Duration = Duration::from_secs(10 * 60);
/// How long one lives that is sent with each call.
const BEARER_TTL: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What can be done with tokens.
#[derive(Args, Clone, Debug)]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// The commands of `token`.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; this is the only time that it can be seen
    Create(Box<TokenCreateArgs>),
    /// List the tokens that were made, ended ones too
    List(ListArgs),
    /// Revoke a token; hosts that joined with it stay
    Revoke(RevokeTokenArgs),
}

/// Flags of `token create`.
#[derive(Args, Clone, Debug)]
pub struct TokenCreateArgs {
    /// Where it is made.
    #[command(flatten)]
    pub source: SourceArgs,
    /// What the token is good for
    #[arg(long, value_enum, default_value_t = Role::Agent, value_name = "ROLE")]
    pub role: Role,
    /// Make an agent's token that is sent with each call, where a proxy ends TLS, and speaks for this host alone; without, hosts
    /// join with an agent's token
    #[arg(long, value_name = "ID")]
    pub host: Option<HostId>,
    /// How many hosts may join with it [default: 1]
    #[arg(long, value_name = "HOSTS")]
    pub uses: Option<u32>,
    /// How long it lives, such as 10m or 30d [default: 10m; if it is sent with each call 90d]
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub ttl: Option<Duration>,
    /// Say this of the hosts that join with it: a label of each of their reports (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = value::label)]
    pub label: Vec<(String, String)>,
    /// Let this host alone join, once, although it did before; its old certificates end with that
    #[arg(long, value_name = "ID")]
    pub replace_host: Option<HostId>,
    /// Let it be used from this network only, such as 10.2.0.0/16
    #[arg(long, value_name = "CIDR")]
    pub network: Option<Network>,
    /// What it is for, to tell it from others in the list
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Where hosts reach the collector; with --server, that one says so [default: what `init` wrote to fleetmark.toml]
    #[arg(long, value_name = "URL", value_parser = value::collector_url)]
    pub endpoint: Option<Url>,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl TokenCreateArgs {
    /// The token that is asked for.
    ///
    /// # Errors
    ///
    /// If a label is given twice, or there can be no such token.
    pub fn asked(&self) -> Result<NewToken, Invalid> {
        let is_to_join = self.role == Role::Agent && self.host.is_none();
        let mut labels = BTreeMap::new();
        for (key, value) in &self.label {
            if labels.insert(key.clone(), value.clone()).is_some() {
                return Err(Invalid::new("--label", format!("{key} is there twice")));
            }
        }
        let asked = NewToken {
            role: self.role,
            host: self.host.clone(),
            uses: self.uses.unwrap_or(u32::from(is_to_join)),
            ttl: self.ttl.unwrap_or(if is_to_join { JOIN_TTL } else { BEARER_TTL }),
            labels,
            replace_host: self.replace_host.clone(),
            network: self.network,
            note: self.note.clone().unwrap_or_default(),
        };
        asked.check().map_err(|invalid| Invalid { field: flag(&invalid.field), ..invalid })?;
        Ok(asked)
    }
}

/// The flag that sets a field of a token.
fn flag(field: &str) -> String {
    match field {
        "labels" => "--label".to_owned(),
        field => format!("--{}", field.replace('_', "-")),
    }
}

/// Flags of `token revoke`.
#[derive(Args, Clone, Debug)]
pub struct RevokeTokenArgs {
    /// The token's id, as `token list` prints it
    pub id: TokenId,
    /// Where it is revoked.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What can be done with hosts that joined.
#[derive(Args, Clone, Debug)]
pub struct AgentArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AgentCommand,
}

/// The commands of `agent`.
#[derive(Clone, Debug, Subcommand)]
pub enum AgentCommand {
    /// List the hosts that joined, with the state of their certificates, and who else was revoked
    List(ListArgs),
    /// Revoke a host: within a minute nothing is taken from it any more, whichever authority issued its certificate
    ///
    /// Its bearer tokens are revoked with it. Until --undo its certificates of other authorities are refused, and it joins again
    /// only with a token made with --replace-host.
    ///
    /// A name that no host has here is revoked as well, as other authorities do not tell whom they know: that is a success, with a
    /// warning, for the name may be mistyped. `agent list` shows the names; a bearer token is revoked with `token revoke`.
    Revoke(RevokeAgentArgs),
}

/// Flags of `agent revoke`.
#[derive(Args, Clone, Debug)]
pub struct RevokeAgentArgs {
    /// The host's id, as `agent list` prints it, or the name in the certificate of a reader or an operator
    pub name: HostId,
    /// Whom to revoke; a reader or an operator by the certificate of another authority, as theirs of this collector are tokens
    #[arg(long, value_enum, default_value_t = Role::Agent, value_name = "ROLE")]
    pub role: Role,
    /// Take a revocation back: certificates count again, tokens do not
    #[arg(long)]
    pub undo: bool,
    /// Where it is revoked.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Form and place of the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `audit`.
#[derive(Args, Clone, Debug)]
pub struct AuditArgs {
    /// Leave out what happened before: a duration back from now, or a time [default: all is printed]
    #[arg(long, value_name = "WHEN", value_parser = value::since)]
    pub since: Option<Since>,
    /// Flags that it has in common with lists.
    #[command(flatten)]
    pub list: ListArgs,
}
