//! A collector that is asked over the wire.

use fleetmark_agent::{
    args::AccessArgs,
    command::take_care_of,
    delivery::{self, Access, AccessError, Connection, DeliveryError},
};
use fleetmark_proto::{
    control::{
        AuditEntry, Created, KnownAgent, KnownToken, NewToken, Revoked, RevokedSubject, Revoking,
    },
    convert::{self, ReadRun},
    invalid::Invalid,
    limits,
    token::TokenId,
    v1::{
        AgentsRequest, AgentsResponse, KeptRun, RevokeTokenRequest, TokensRequest, TokensResponse,
        control_client::ControlClient, query_client::QueryClient,
    },
};
use jiff::Timestamp;
use tonic::{Code, Status};
use url::Url;

use crate::store::StoredRun;

/// A collector that cannot be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// What it is to be believed by, or to be shown, cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// It cannot be reached or believed, or answers with an error.
    #[error(transparent)]
    Collector(#[from] DeliveryError),
    /// It does not allow this to whoever asks.
    #[error(
        "the collector at {url} does not allow this: {message}; show it a token with --bearer-token-file, or a certificate \
         with --tls-cert and --tls-key, or ask over its own socket with --server unix:PATH"
    )]
    NotAllowed {
        /// Where it was asked.
        url: Url,
        /// What it said.
        message: String,
    },
    /// It does not have what this is about.
    #[error("{0}")]
    Unknown(String),
    /// It does not know the question.
    #[error("the collector at {url} cannot be asked this; upgrade it")]
    Older {
        /// Where it was asked.
        url: Url,
    },
    /// Its answer is none that this version knows.
    #[error("the collector at {url} answers what cannot be read; upgrade this program")]
    Answer {
        /// Where it was asked.
        url: Url,
        /// What is wrong with the answer.
        source: Box<Invalid>,
    },
}

impl RemoteError {
    /// Whether what was typed cannot be done, whatever answers.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        use DeliveryError::{NeedsInsecure, NobodyBelieved};
        match self {
            Self::Access(_) => true,
            Self::Collector(error) => matches!(error, NeedsInsecure { .. } | NobodyBelieved { .. }),
            _ => false,
        }
    }
}

/// A collector at the other end of a connection.
#[derive(Debug)]
pub struct Remote {
    connection: Connection,
}

impl Remote {
    /// Connects to a collector.
    ///
    /// # Errors
    ///
    /// If it cannot be reached or believed, or what it is to be shown cannot be read.
    pub async fn connect(url: &Url, access: &AccessArgs) -> Result<Self, RemoteError> {
        take_care_of(access);
        let access = Access::read(access)?;
        Ok(Self { connection: delivery::connect(url, &access).await? })
    }

    /// The runs that ended at `since` or later, oldest first.
    ///
    /// # Errors
    ///
    /// If the collector does not answer, or not to the end.
    pub async fn runs(&self, since: Option<Timestamp>) -> Result<Vec<StoredRun>, RemoteError> {
        let mut client = QueryClient::new(self.connection.channel());
        let mut answer = self.wait(client.runs(convert::runs_request(since))).await?;
        let mut runs = Vec::new();
        while let Some(run) = self.wait(answer.get_mut().message()).await? {
            runs.push(self.read(run)?);
        }
        Ok(runs)
    }

    /// All tokens, newest first.
    ///
    /// # Errors
    ///
    /// If the collector does not answer.
    pub async fn tokens(&self) -> Result<Vec<KnownToken>, RemoteError> {
        let mut client = ControlClient::new(self.connection.channel())
            .max_decoding_message_size(limits::LIST_BYTES);
        let TokensResponse { tokens } =
            self.wait(client.tokens(TokensRequest {})).await?.into_inner();
        tokens.into_iter().map(|token| self.readable(KnownToken::from_wire(token))).collect()
    }

    /// All hosts that joined, by their ids, and whose certificates of other authorities are refused.
    ///
    /// # Errors
    ///
    /// If the collector does not answer.
    pub async fn agents(&self) -> Result<(Vec<KnownAgent>, Vec<RevokedSubject>), RemoteError> {
        let mut client = ControlClient::new(self.connection.channel())
            .max_decoding_message_size(limits::LIST_BYTES);
        let AgentsResponse { agents, revoked } =
            self.wait(client.agents(AgentsRequest {})).await?.into_inner();
        let agents = agents.into_iter().map(KnownAgent::from_wire).collect();
        let revoked = revoked.into_iter().map(RevokedSubject::from_wire).collect();
        Ok((self.readable(agents)?, self.readable(revoked)?))
    }

    /// The audit trail from then on, oldest first.
    ///
    /// # Errors
    ///
    /// If the collector does not answer, or not to the end.
    pub async fn audit(&self, since: Option<Timestamp>) -> Result<Vec<AuditEntry>, RemoteError> {
        let mut client = ControlClient::new(self.connection.channel());
        let mut answer = self.wait(client.audit(convert::audit_request(since))).await?;
        let mut entries = Vec::new();
        while let Some(entry) = self.wait(answer.get_mut().message()).await? {
            entries.push(self.readable(AuditEntry::from_wire(entry))?);
        }
        Ok(entries)
    }

    /// Has a token made.
    ///
    /// # Errors
    ///
    /// If the collector does not answer, or refuses.
    pub async fn create_token(&self, asked: NewToken) -> Result<Created, RemoteError> {
        let mut client = ControlClient::new(self.connection.channel());
        let created = self.wait(client.create_token(asked.into_wire())).await?.into_inner();
        self.readable(Created::from_wire(created))
    }

    /// Has a token revoked, and tells whether this did it.
    ///
    /// # Errors
    ///
    /// If the collector does not answer, or knows no such token.
    pub async fn revoke_token(&self, id: &TokenId) -> Result<bool, RemoteError> {
        let mut client = ControlClient::new(self.connection.channel());
        let request = RevokeTokenRequest { id: id.to_string() };
        let revoked = self.wait(client.revoke_token(request)).await?.into_inner();
        Ok(Revoked::from_wire(revoked).changed)
    }

    /// Has a host revoked, or somebody with a certificate of another authority, or that taken back.
    ///
    /// # Errors
    ///
    /// If the collector does not answer.
    pub async fn revoke(&self, revoking: Revoking) -> Result<Revoked, RemoteError> {
        let mut client = ControlClient::new(self.connection.channel());
        let revoked = self.wait(client.revoke_agent(revoking.into_wire())).await?.into_inner();
        Ok(Revoked::from_wire(revoked))
    }

    fn read(&self, run: KeptRun) -> Result<StoredRun, RemoteError> {
        let ReadRun { report, received_at, sent_at } = self.readable(convert::read_run(run))?;
        Ok(StoredRun { report, received_at, sent_at })
    }

    fn readable<T>(&self, read: Result<T, Invalid>) -> Result<T, RemoteError> {
        let answer = |invalid| RemoteError::Answer {
            url: self.connection.url().clone(),
            source: Box::new(invalid),
        };
        read.map_err(answer)
    }

    /// Waits for the next part of an answer.
    async fn wait<T>(
        &self,
        part: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, RemoteError> {
        let url = self.connection.url();
        let refused = |status: &Status| match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Some(RemoteError::NotAllowed {
                url: url.clone(),
                message: delivery::plain(status.message()),
            }),
            Code::NotFound => Some(RemoteError::Unknown(delivery::plain(status.message()))),
            Code::Unimplemented => Some(RemoteError::Older { url: url.clone() }),
            _ => None,
        };
        self.connection.wait(limits::READ_PAUSE, part, refused).await
    }
}
