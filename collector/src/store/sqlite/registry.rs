//! Tokens, hosts that joined, and the audit trail, in the file that holds the runs.

mod audit;
mod revocation;
mod row;

use async_trait::async_trait;
use fleetmark_proto::{
    id::{Digest, HostId},
    limits,
    role::{Role, Subject},
    token::TokenId,
};
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{Sqlite, StoreError, microseconds};
use crate::{
    identity::Address,
    registry::{
        AuditEntry, Event, Joining, KnownAgent, KnownToken, Network, Refused, Registry, Revoked,
        RevokedSubject, Revoking, Standing, is_same_join,
    },
};
use row::{AgentRow, StandingRow, TokenRow, json};

#[async_trait]
impl Registry for Sqlite {
    async fn create_token(
        &self,
        token: KnownToken,
        digest: Digest,
        by: AuditEntry,
    ) -> Result<(), StoreError> {
        self.commit(move |transaction| {
            insert_token(transaction, &token, digest)?;
            audit::add(transaction, &by)
        })
        .await
    }

    async fn tokens(&self) -> Result<Vec<KnownToken>, StoreError> {
        self.with(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT * FROM token ORDER BY created_at_us DESC, token_id")?;
            let rows = statement.query_map([], TokenRow::take)?;
            rows.map(|row| Ok(row?.read()?.0)).collect()
        })
        .await
    }

    async fn revoke_token(&self, id: TokenId, by: AuditEntry) -> Result<Option<bool>, StoreError> {
        self.commit(move |transaction| {
            let revoked_at = transaction
                .prepare_cached("SELECT revoked_at_us FROM token WHERE token_id = ?1")?
                .query_row([id.as_str()], |row| row.get::<_, Option<i64>>(0))
                .optional()?;
            if revoked_at == Some(None) {
                transaction
                    .prepare_cached("UPDATE token SET revoked_at_us = ?2 WHERE token_id = ?1")?
                    .execute(params![id.as_str(), microseconds(by.at)])?;
                audit::add(transaction, &by)?;
            }
            Ok(revoked_at.map(|revoked_at| revoked_at.is_none()))
        })
        .await
    }

    async fn join(&self, joining: Joining) -> Result<Result<KnownAgent, Refused>, StoreError> {
        self.commit(move |transaction| {
            let answer = join(transaction, &joining)?;
            if let Ok((agent, Some(event))) = &answer {
                let Joining { host_id, address, now, .. } = &joining;
                let detail = format!("token {}", agent.token_id);
                audit::add(transaction, &entry(*now, *event, host_id, *address, detail))?;
            }
            Ok(answer.map(|(agent, _)| agent))
        })
        .await
    }

    async fn renew(
        &self,
        host_id: HostId,
        key: Digest,
        address: Address,
        now: Timestamp,
        ends_at: Timestamp,
    ) -> Result<Result<KnownAgent, Refused>, StoreError> {
        self.commit(move |transaction| {
            let answer = renew(transaction, &host_id, key, now, ends_at)?;
            if let Ok(agent) = &answer {
                let detail = format!("until {}", agent.ends_at);
                audit::add(transaction, &entry(now, Event::Renewed, &host_id, address, detail))?;
            }
            Ok(answer)
        })
        .await
    }

    async fn agents(&self) -> Result<Vec<KnownAgent>, StoreError> {
        self.with(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT * FROM agent ORDER BY host_id")?;
            let rows = statement.query_map([], AgentRow::take)?;
            rows.map(|row| Ok(row?.read()?.0)).collect()
        })
        .await
    }

    async fn revoke(&self, revoking: Revoking, by: AuditEntry) -> Result<Revoked, StoreError> {
        self.commit(move |transaction| {
            let Revoking { subject, undo } = &revoking;
            let revoked = match undo {
                false => revocation::revoke(transaction, subject, by.at)?,
                true => revocation::restore(transaction, subject)?,
            };
            if revoked.changed {
                audit::add(transaction, &by)?;
            }
            Ok(revoked)
        })
        .await
    }

    async fn revoked(&self) -> Result<Vec<RevokedSubject>, StoreError> {
        self.with(|connection| revocation::all(connection)).await
    }

    async fn standing(&self) -> Result<Standing, StoreError> {
        self.with(|connection| {
            // One transaction, so that all are of one moment.
            let transaction = connection.transaction()?;
            let mut standing = Standing::default();
            let mut agents = transaction.prepare_cached(
                "SELECT host_id, key_sha256, revoked_at_us IS NOT NULL AS is_revoked FROM agent",
            )?;
            for row in agents.query_map([], StandingRow::take)? {
                let (host_id, agent) = row?.read()?;
                standing.agents.insert(host_id, agent);
            }
            let revoked = revocation::all(&transaction)?;
            standing.revoked = revoked.into_iter().map(|revoked| revoked.subject).collect();
            let mut tokens = transaction.prepare_cached(
                "SELECT * FROM token
                 WHERE (role != 'agent' OR host IS NOT NULL) AND revoked_at_us IS NULL",
            )?;
            for row in tokens.query_map([], TokenRow::take)? {
                let (token, digest) = row?.read()?;
                standing.bearers.insert(digest, row::bearer_standing(token));
            }
            Ok(standing)
        })
        .await
    }

    async fn record(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.commit(move |transaction| audit::add(transaction, &entry)).await
    }

    async fn audit(&self, since: Option<Timestamp>) -> Result<Vec<AuditEntry>, StoreError> {
        self.with(move |connection| audit::since(connection, since)).await
    }
}

impl Sqlite {
    /// One transaction that nobody else writes beside.
    async fn commit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.with(move |connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let answer = work(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        })
        .await
    }
}

fn entry(
    at: Timestamp,
    event: Event,
    host_id: &HostId,
    address: Address,
    detail: String,
) -> AuditEntry {
    let who = Subject { role: Role::Agent, name: host_id.clone() }.to_string();
    AuditEntry { at, event, who, address: address.to_string(), detail }
}

fn insert_token(
    transaction: &Transaction<'_>,
    token: &KnownToken,
    digest: Digest,
) -> Result<(), StoreError> {
    let KnownToken {
        id,
        role,
        host,
        created_at,
        ends_at,
        uses,
        used,
        revoked_at,
        labels,
        replace_host,
        network,
        note,
    } = token;
    transaction
        .prepare_cached(
            "INSERT INTO token (token_id, sha256, role, created_at_us, ends_at_us, uses, used,
                                revoked_at_us, labels, replace_host, network, note, host)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            id.as_str(),
            digest.as_bytes().as_slice(),
            role.as_str(),
            microseconds(*created_at),
            microseconds(*ends_at),
            uses,
            used,
            revoked_at.map(microseconds),
            json(labels),
            replace_host.as_ref().map(HostId::as_str),
            network.as_ref().map(Network::to_string),
            note,
            host.as_ref().map(HostId::as_str),
        ])?;
    Ok(())
}

/// Lets a host join, and says what that was, or why not. A host that lost the answer and asks again with the same token and key has
/// joined already: it is answered again, and uses nothing up.
fn join(
    transaction: &Transaction<'_>,
    joining: &Joining,
) -> Result<Result<(KnownAgent, Option<Event>), Refused>, StoreError> {
    let Joining { token, host_id, host_name, key, address, now, ends_at } = joining;
    let token = match find_token(transaction, *token)? {
        None => return Ok(Err(Refused::UnknownToken)),
        Some(token) => token,
    };
    if let Err(refused) = may_be_used(&token, host_id, *address, *now) {
        return Ok(Err(refused));
    }
    let known = find_agent(transaction, host_id)?;
    if let Some((agent, known_key)) = &known
        && agent.token_id == token.id
        && known_key == key
        && agent.revoked_at.is_none()
    {
        if is_same_join(agent.renewed_at, *now) {
            return Ok(Ok((agent.clone(), None)));
        }
        let agent = issued(transaction, agent.clone(), *now, *ends_at)?;
        return Ok(Ok((agent, Some(Event::Renewed))));
    }
    if token.used >= token.uses {
        return Ok(Err(Refused::UsedUp(token.uses)));
    }
    if token.replace_host.is_none() {
        match &known {
            Some((KnownAgent { revoked_at: None, .. }, _)) => {
                return Ok(Err(Refused::KnownHost(host_id.clone())));
            }
            // It may never have joined, and have been revoked for certificates of others.
            None if !revocation::is_revoked(transaction, Role::Agent, host_id)? => {}
            Some(_) | None => return Ok(Err(Refused::RevokedHost(host_id.clone()))),
        }
    }
    let agent = KnownAgent {
        host_id: host_id.clone(),
        host_name: host_name.clone(),
        enrolled_at: *now,
        address: address.to_string(),
        token_id: token.id,
        renewed_at: *now,
        ends_at: *ends_at,
        revoked_at: None,
        labels: token.labels,
    };
    put_agent(transaction, &agent, *key)?;
    transaction
        .prepare_cached("UPDATE token SET used = used + 1 WHERE token_id = ?1")?
        .execute([agent.token_id.as_str()])?;
    let event = if known.is_some() { Event::Replaced } else { Event::Enrolled };
    Ok(Ok((agent, Some(event))))
}

/// Whether this host may join with this token from there, if it is not used up.
fn may_be_used(
    token: &KnownToken,
    host_id: &HostId,
    address: Address,
    now: Timestamp,
) -> Result<(), Refused> {
    if !token.is_to_join() {
        return Err(Refused::NotToJoin);
    }
    if token.revoked_at.is_some() {
        return Err(Refused::RevokedToken);
    }
    if token.ends_at <= now {
        return Err(Refused::Ended(token.ends_at));
    }
    let is_near = |network: &Network| match address {
        Address::Ip(address) => network.contains(address),
        Address::Unix | Address::Here => false,
    };
    if token.network.as_ref().is_some_and(|network| !is_near(network)) {
        return Err(Refused::OtherNetwork(address.to_string()));
    }
    match &token.replace_host {
        Some(only) if only != host_id => Err(Refused::OtherHost(only.clone())),
        _ => Ok(()),
    }
}

fn renew(
    transaction: &Transaction<'_>,
    host_id: &HostId,
    key: Digest,
    now: Timestamp,
    ends_at: Timestamp,
) -> Result<Result<KnownAgent, Refused>, StoreError> {
    let Some((agent, known_key)) = find_agent(transaction, host_id)? else {
        return Ok(Err(Refused::UnknownHost(host_id.clone())));
    };
    if known_key != key {
        return Ok(Err(Refused::Replaced(host_id.clone())));
    }
    if agent.revoked_at.is_some() {
        return Ok(Err(Refused::RevokedHost(host_id.clone())));
    }
    let since_end = now.duration_since(agent.ends_at);
    if since_end.is_positive() && since_end.unsigned_abs() > limits::RENEWAL_AGE {
        return Ok(Err(Refused::LongEnded(agent.ends_at)));
    }
    Ok(Ok(issued(transaction, agent, now, ends_at)?))
}

/// The host has its next certificate.
fn issued(
    transaction: &Transaction<'_>,
    agent: KnownAgent,
    now: Timestamp,
    ends_at: Timestamp,
) -> Result<KnownAgent, StoreError> {
    transaction
        .prepare_cached("UPDATE agent SET renewed_at_us = ?2, ends_at_us = ?3 WHERE host_id = ?1")?
        .execute(params![agent.host_id.as_str(), microseconds(now), microseconds(ends_at)])?;
    Ok(KnownAgent { renewed_at: now, ends_at, ..agent })
}

fn find_token(
    transaction: &Transaction<'_>,
    digest: Digest,
) -> Result<Option<KnownToken>, StoreError> {
    let row = transaction
        .prepare_cached("SELECT * FROM token WHERE sha256 = ?1")?
        .query_row([digest.as_bytes().as_slice()], TokenRow::take)
        .optional()?;
    Ok(row.map(TokenRow::read).transpose()?.map(|(token, _)| token))
}

fn find_agent(
    transaction: &Transaction<'_>,
    host_id: &HostId,
) -> Result<Option<(KnownAgent, Digest)>, StoreError> {
    let row = transaction
        .prepare_cached("SELECT * FROM agent WHERE host_id = ?1")?
        .query_row([host_id.as_str()], AgentRow::take)
        .optional()?;
    row.map(AgentRow::read).transpose()
}

fn put_agent(
    transaction: &Transaction<'_>,
    agent: &KnownAgent,
    key: Digest,
) -> Result<(), StoreError> {
    let KnownAgent {
        host_id,
        host_name,
        enrolled_at,
        address,
        token_id,
        renewed_at,
        ends_at,
        revoked_at,
        labels,
    } = agent;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO agent (host_id, host_name, key_sha256, enrolled_at_us, address,
                                           token_id, renewed_at_us, ends_at_us, revoked_at_us, labels)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            host_id.as_str(),
            host_name,
            key.as_bytes().as_slice(),
            microseconds(*enrolled_at),
            address,
            token_id.as_str(),
            microseconds(*renewed_at),
            microseconds(*ends_at),
            revoked_at.map(microseconds),
            json(labels),
        ])?;
    Ok(())
}
