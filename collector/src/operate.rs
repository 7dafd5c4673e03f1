//! The commands of operators: what they do to the store beside them.

use std::sync::Arc;

use fleetmark_agent::{args::GlobalArgs, command::Stopped};
use fleetmark_proto::{
    control::Event,
    role::Role,
    shell::{
        Exit,
        output::{OutputArgs, tell},
    },
};
use jiff::Timestamp;

use crate::{
    args::{
        AgentCommand, AuditArgs, ListArgs, RevokeAgentArgs, RevokeTokenArgs, StoreArgs,
        TokenCommand, TokenCreateArgs,
    },
    authority::Authority,
    control::{By, Desk, IssueError, Issuing},
    finish,
    identity::Address,
    registry::{AuditEntry, Registry},
    render, setup, source,
    status::ControlError,
    store::{self, Mode, StoreError},
    view::{self, Revocation},
};

/// Does what `token` says.
pub(crate) async fn token(command: TokenCommand, global: &GlobalArgs) -> Result<Exit, Stopped> {
    match command {
        TokenCommand::Create(arguments) => create_token(*arguments, global).await,
        TokenCommand::List(ListArgs { source: from, output }) => {
            let rows = view::tokens(source(&from).await?.tokens().await?, Timestamp::now());
            finish(&output, &render::tokens(&rows, output.format)?, rows.is_empty())
        }
        TokenCommand::Revoke(RevokeTokenArgs { id, store, output }) => {
            let changed = desk(&store).await?.revoke_token(id.clone(), &here()).await;
            revoked("token", id.to_string(), changed, &output)
        }
    }
}

/// Does what `agent` says.
pub(crate) async fn agent(command: AgentCommand) -> Result<Exit, Stopped> {
    match command {
        AgentCommand::List(ListArgs { source: from, output }) => {
            let rows = view::agents(source(&from).await?.agents().await?, Timestamp::now());
            finish(&output, &render::agents(&rows, output.format)?, rows.is_empty())
        }
        AgentCommand::Revoke(RevokeAgentArgs { host, store, output }) => {
            let changed = desk(&store).await?.revoke_agent(host.clone(), &here()).await;
            revoked("host", host.to_string(), changed, &output)
        }
    }
}

/// Prints the audit trail.
pub(crate) async fn audit(arguments: AuditArgs) -> Result<Exit, Stopped> {
    let AuditArgs { since, list: ListArgs { source: from, output } } = arguments;
    let since = since.map(|since| since.before(Timestamp::now()));
    let entries = source(&from).await?.audit(since).await?;
    finish(&output, &render::audit(&entries, output.format)?, entries.is_empty())
}

/// Says in the audit trail that old lines of it were removed; otherwise nobody could tell.
pub(crate) async fn say_pruned(
    registry: &dyn Registry,
    lines: u64,
    before: Timestamp,
) -> Result<(), StoreError> {
    let By { who, address, at } = here();
    let detail = format!("{lines} lines of the audit trail from before {before}");
    let address = address.to_string();
    registry.record(AuditEntry { at, event: Event::Pruned, who, address, detail }).await
}

async fn create_token(arguments: TokenCreateArgs, global: &GlobalArgs) -> Result<Exit, Stopped> {
    let asked = arguments.asked().map_err(|invalid| Stopped::usage(&invalid))?;
    let TokenCreateArgs { store, endpoint, output, .. } = arguments;
    let pin = match asked.role {
        Role::Agent => Some(Authority::load(&setup::authority_folder(&global.state_dir))?.pin()),
        Role::Reader | Role::Operator => None,
    };
    let role = asked.role;
    let desk = Desk::new(open(&store).await?, Issuing { endpoint, pin });
    let created = desk.create_token(asked, &here()).await.map_err(|error| match error {
        ControlError::Issue(error @ (IssueError::NoEndpoint | IssueError::WrongEndpoint(_))) => {
            Stopped::usage(&error)
        }
        ControlError::Store(error) => Stopped::from(error),
        error => Stopped::from(error),
    })?;
    output.write(&render::created(&created, output.format)?)?;
    let known = &created.known;
    tell(format_args!(
        "token {} counts until {}; {}",
        known.id,
        known.ends_at,
        match role {
            Role::Agent => "on the host: fleetmark-agent enroll --token-file -",
            Role::Reader | Role::Operator => "give it as --bearer-token-file",
        }
    ));
    Ok(Exit::Success)
}

/// What is changed must be there: a new store somewhere else would make tokens that no collector knows.
async fn open(store: &StoreArgs) -> Result<Arc<dyn Registry>, StoreError> {
    Ok(store::open_both(&store.store, Mode::Change).await?.1)
}

/// Where something is revoked.
async fn desk(store: &StoreArgs) -> Result<Desk, StoreError> {
    Ok(Desk::new(open(store).await?, Issuing::default()))
}

/// Whoever runs this command, now. Who may write the store may say so.
fn here() -> By {
    let who = format!("user {}", rustix::process::geteuid().as_raw());
    By { who, address: Address::Here, at: Timestamp::now() }
}

fn revoked(
    what: &'static str,
    id: String,
    changed: Result<bool, ControlError>,
    output: &OutputArgs,
) -> Result<Exit, Stopped> {
    match changed {
        Ok(changed) => {
            let revocation = Revocation { what, id, changed };
            output.write(&render::revocation(&revocation, output.format)?)?;
            Ok(Exit::Success)
        }
        Err(unknown @ ControlError::Unknown(_)) => {
            tell(unknown);
            Ok(Exit::NoMatch)
        }
        Err(ControlError::Store(error)) => Err(Stopped::from(error)),
        Err(error) => Err(Stopped::from(error)),
    }
}
