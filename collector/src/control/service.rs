//! The operators' service. Whether a caller is an operator was decided before.

use std::sync::Arc;

use fleetmark_agent::clock::Clock;
use fleetmark_proto::{
    control::{KnownAgent, KnownToken, NewToken, RevokedSubject, Revoking},
    convert,
    invalid::Invalid,
    v1::{
        AgentsRequest, AgentsResponse, AuditEntry as WireEntry, AuditRequest, CreateTokenRequest,
        CreatedToken, ForgetHostRequest, ForgottenHost, RevokeAgentRequest, RevokeTokenRequest,
        Revoked, TokensRequest, TokensResponse, control_server::Control,
    },
};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tonic::{Extensions, Request, Response, Status};

use super::{By, Desk, Issuing};
use crate::{identity::Caller, registry::Registry, server::Leave, status::ControlError};

/// The service that operators talk to.
pub struct ControlService {
    registry: Arc<dyn Registry>,
    desk: Desk,
    clock: Clock,
}

impl ControlService {
    /// A service that changes this registry, makes tokens like this and goes by this clock.
    #[must_use]
    pub fn new(registry: Arc<dyn Registry>, issuing: Issuing, clock: Clock) -> Self {
        let desk = Desk::new(Arc::clone(&registry), issuing);
        Self { registry, desk, clock }
    }

    /// Who calls, and when.
    fn by(&self, extensions: &Extensions) -> Result<By, ControlError> {
        let caller = Caller::of(extensions).ok_or(ControlError::NobodySays)?;
        Ok(By { who: caller.to_string(), address: caller.address, at: self.clock.now() })
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreatedToken>, Status> {
        let by = self.by(request.extensions())?;
        let asked = NewToken::from_wire(request.into_inner()).map_err(ControlError::from)?;
        let created = self.desk.create_token(asked, &by).await?;
        Ok(Response::new(created.into_wire()))
    }

    async fn tokens(
        &self,
        _request: Request<TokensRequest>,
    ) -> Result<Response<TokensResponse>, Status> {
        let tokens = self.registry.tokens().await.map_err(ControlError::from)?;
        let tokens = tokens.into_iter().map(KnownToken::into_wire).collect();
        Ok(Response::new(TokensResponse { tokens }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<Revoked>, Status> {
        let by = self.by(request.extensions())?;
        let RevokeTokenRequest { id } = request.into_inner();
        let id = id.parse().map_err(|invalid: Invalid| ControlError::from(invalid))?;
        let changed = self.desk.revoke_token(id, &by).await?;
        Ok(Response::new(Revoked { changed, only_others: false }))
    }

    async fn agents(
        &self,
        _request: Request<AgentsRequest>,
    ) -> Result<Response<AgentsResponse>, Status> {
        let agents = self.registry.agents().await.map_err(ControlError::from)?;
        let agents = agents.into_iter().map(KnownAgent::into_wire).collect();
        let revoked = self.registry.revoked().await.map_err(ControlError::from)?;
        let revoked = revoked.into_iter().map(RevokedSubject::into_wire).collect();
        Ok(Response::new(AgentsResponse { agents, revoked }))
    }

    async fn revoke_agent(
        &self,
        request: Request<RevokeAgentRequest>,
    ) -> Result<Response<Revoked>, Status> {
        let by = self.by(request.extensions())?;
        let revoking = Revoking::from_wire(request.into_inner()).map_err(ControlError::from)?;
        let revoked = self.desk.revoke(revoking, &by).await?;
        Ok(Response::new(revoked.into_wire()))
    }

    async fn forget_host(
        &self,
        request: Request<ForgetHostRequest>,
    ) -> Result<Response<ForgottenHost>, Status> {
        let by = self.by(request.extensions())?;
        let ForgetHostRequest { host_id } = request.into_inner();
        let id = host_id.parse().map_err(|invalid: Invalid| ControlError::from(invalid))?;
        let forgotten = self.desk.forget(id, &by).await?;
        Ok(Response::new(ForgottenHost { runs: forgotten.runs }))
    }

    type AuditStream = BoxStream<'static, Result<WireEntry, Status>>;

    async fn audit(
        &self,
        request: Request<AuditRequest>,
    ) -> Result<Response<Self::AuditStream>, Status> {
        let leave: Option<Leave> = request.extensions().get().cloned();
        let since = convert::audit_since(request.into_inner()).map_err(ControlError::from)?;
        let entries = self.registry.audit(since).await.map_err(ControlError::from)?;
        let entries = entries.into_iter().map(move |entry| {
            // An operator may take them as slowly as it likes, and once it is revoked gets no more.
            leave.as_ref().map_or(Ok(()), Leave::check).map_err(|denied| Status::from(&denied))?;
            Ok(entry.into_wire())
        });
        Ok(Response::new(stream::iter(entries).boxed()))
    }
}
