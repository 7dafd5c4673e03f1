//! The commands of operators.

mod counter;

use std::io::{self, IsTerminal as _};

use fleetmark_agent::{args::GlobalArgs, command::Stopped, memory};
use fleetmark_proto::{
    control::{Event, Revoked, Revoking},
    id::HostId,
    role::{Role, Subject},
    shell::{
        Exit,
        output::{OutputArgs, tell},
    },
    token::TokenId,
};
use jiff::Timestamp;

use crate::{
    args::{
        AgentCommand, AuditArgs, ForgetArgs, ListArgs, RevokeAgentArgs, RevokeTokenArgs,
        SourceArgs, TokenCommand, TokenCreateArgs,
    },
    authority::Authority,
    control::{By, Issuing},
    reading::{finish, source},
    registry::{AuditEntry, Registry},
    render, setup,
    store::StoreError,
    view::{self, Revocation, RevocationState},
};
use counter::{Counter, CounterError, here};

/// Does what `token` says.
pub(crate) async fn token(command: TokenCommand, global: &GlobalArgs) -> Result<Exit, Stopped> {
    match command {
        TokenCommand::Create(arguments) => create_token(*arguments, global).await,
        TokenCommand::List(ListArgs { source: from, output }) => {
            let rows = view::tokens(source(&from).await?.tokens().await?, Timestamp::now());
            finish(&output, &render::tokens(&rows, output.form())?, rows.is_empty())
        }
        TokenCommand::Revoke(RevokeTokenArgs { id, source: to, output }) => {
            let changed = counter(&to).await?.revoke_token(&id).await;
            let state = RevocationState::Revoked;
            let revocation = changed.map(|changed| Revocation {
                what: "token",
                id: id.to_string(),
                changed,
                state,
            });
            revoked(revocation, &output)
        }
    }
}

/// Does what `agent` says.
pub(crate) async fn agent(command: AgentCommand) -> Result<Exit, Stopped> {
    match command {
        AgentCommand::List(ListArgs { source: from, output }) => {
            let (joined, revoked) = source(&from).await?.agents().await?;
            let rows = view::agents(joined, revoked, Timestamp::now());
            finish(&output, &render::agents(&rows, output.form())?, rows.is_empty())
        }
        AgentCommand::Revoke(RevokeAgentArgs { name, role, undo, source: to, output }) => {
            let subject = Subject { role, name: name.clone() };
            let done = counter(&to).await?.revoke(Revoking { subject, undo }).await;
            if let Ok(done) = &done
                && !undo
            {
                warn_of_strangers(role, &name, done);
            }
            let revocation = |Revoked { changed, only_others }| Revocation {
                what: match role {
                    Role::Agent => "host",
                    Role::Reader | Role::Operator => role.as_str(),
                },
                id: name.to_string(),
                changed,
                state: match only_others && role == Role::Agent {
                    _ if undo => RevocationState::Restored,
                    true => RevocationState::NeverEnrolled,
                    false => RevocationState::Revoked,
                },
            };
            revoked(done.map(revocation), &output)
        }
    }
}

/// Removes all runs of a host. Whoever did not say --yes is asked first.
pub(crate) async fn forget(arguments: ForgetArgs) -> Result<Exit, Stopped> {
    let ForgetArgs { id, yes, source: from, output } = arguments;
    if !yes {
        if !io::stdin().is_terminal() {
            return Err(Stopped::usage(&NotAsked));
        }
        tell(format_args!("forget host {id} with all its runs? this cannot be undone [yes/no]"));
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "yes") {
            tell("nothing was removed");
            return Ok(Exit::Failed);
        }
    }
    match counter(&from).await?.forget(&id).await {
        Ok(forgotten) => {
            output.write(&render::forgotten(&forgotten, output.form())?)?;
            Ok(Exit::Success)
        }
        Err(error) if error.is_unknown() => {
            match view::one_host(&source(&from).await?.runs(None).await?, id.as_str()) {
                Ok(named) => tell(format_args!("no host has the id {id}; {named} has that name")),
                Err(unknown) => tell(unknown),
            }
            Ok(Exit::NoMatch)
        }
        Err(error) => Err(error.stopped()),
    }
}

/// There is nobody to ask.
#[derive(Debug, thiserror::Error)]
#[error("this removes all runs of a host for good; say --yes where nobody can be asked")]
struct NotAsked;

/// What was revoked stays so, as other authorities do not tell whom they know; but it may have been meant for somebody else.
fn warn_of_strangers(role: Role, name: &HostId, done: &Revoked) {
    let is_token = name.as_str().parse::<TokenId>().is_ok();
    match role {
        _ if is_token && done.only_others => tell(format_args!(
            "warning: if {name} is a token, it counts as before; `fleetmark-collector token revoke {name}` revokes it"
        )),
        Role::Agent if done.only_others && done.changed => tell(format_args!(
            "warning: no host {name} is known here; `fleetmark-collector agent list` shows those that are, and a reader or an \
             operator is revoked with --role"
        )),
        Role::Agent | Role::Reader | Role::Operator => {}
    }
}

/// Prints the audit trail.
pub(crate) async fn audit(arguments: AuditArgs) -> Result<Exit, Stopped> {
    let AuditArgs { since, list: ListArgs { source: from, output } } = arguments;
    let since = since.map(|since| since.before(Timestamp::now()));
    let entries = source(&from).await?.audit(since).await?;
    finish(&output, &render::audit(&entries, output.form())?, entries.is_empty())
}

/// Says in the audit trail that old lines of it were removed; otherwise nobody could tell.
pub(crate) async fn say_pruned(
    registry: &dyn Registry,
    lines: u64,
    before: Timestamp,
) -> Result<(), StoreError> {
    let By { who, address, at } = here();
    let before = before.strftime("%Y-%m-%dT%H:%M:%SZ");
    let detail = format!("{lines} lines of the audit trail from before {before}");
    let address = address.to_string();
    registry.record(AuditEntry { at, event: Event::Pruned, who, address, detail }).await
}

async fn create_token(arguments: TokenCreateArgs, global: &GlobalArgs) -> Result<Exit, Stopped> {
    memory::keep_private();
    let asked = arguments.asked().map_err(|invalid| Stopped::usage(&invalid))?;
    let TokenCreateArgs { source: to, endpoint, output, .. } = arguments;
    let is_to_join = asked.is_to_join();
    let issuing = || {
        let pin = match is_to_join {
            true => Some(Authority::load(&setup::authority_folder(&global.state_dir))?.pin()),
            false => None,
        };
        Ok(Issuing { endpoint, pin })
    };
    let created = Counter::open(&to, issuing).await?.create_token(asked).await;
    let created = created.map_err(CounterError::stopped)?;
    output.write_private(&render::created(&created, output.form())?)?;
    let known = &created.known;
    tell(format_args!(
        "token {} counts until {}; {}",
        known.id,
        known.ends_at,
        match &known.host {
            _ if is_to_join => "on the host: fleetmark-agent enroll --token-file -".to_owned(),
            Some(host) => {
                format!("on the host: give it as --bearer-token-file, with --host-id {host}")
            }
            None => "give it as --bearer-token-file".to_owned(),
        }
    ));
    Ok(Exit::Success)
}

/// Where something is revoked.
async fn counter(to: &SourceArgs) -> Result<Counter, Stopped> {
    Counter::open(to, || Ok(Issuing::default())).await
}

fn revoked(
    revocation: Result<Revocation, CounterError>,
    output: &OutputArgs,
) -> Result<Exit, Stopped> {
    match revocation {
        Ok(revocation) => {
            output.write(&render::revocation(&revocation, output.form())?)?;
            Ok(Exit::Success)
        }
        Err(error) if error.is_unknown() => {
            tell(error);
            Ok(Exit::NoMatch)
        }
        Err(error) => Err(error.stopped()),
    }
}
