//! Who is revoked in the middle of a call that goes on for long gets no more of it.

use fleetmark_agent::delivery::Bearer;
use fleetmark_proto::{
    role::Role,
    v1::{AuditRequest, RunsRequest, control_client::ControlClient, query_client::QueryClient},
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::service::interceptor::InterceptedService;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use super::{known::*, raw::eventually, reading::narrow, *};
use crate::registry::{AuditEntry, Event};

#[tokio::test]
async fn an_audit_trail_that_is_read_slowly_ends_with_the_operators_token() {
    let collector = start_known(Asked { is_tls: false, ..Asked::default() }).await;
    let entry = AuditEntry {
        at: collector.now(),
        event: Event::Refused,
        who: String::new(),
        address: String::new(),
        // Of a hundred, far more bytes than are ever on their way.
        detail: "x".repeat(50_000),
    };
    for _ in 0..100 {
        collector.registry.record(entry.clone()).await.unwrap();
    }
    let token = collector.bearer(Role::Operator, Duration::from_secs(600)).await;
    let channel = narrow(collector.address).await;
    let client = ControlClient::new(InterceptedService::new(channel, Bearer::new(&token)));
    let ask = async || client.clone().audit(AuditRequest::default()).await;
    let mut answer = eventually(async || ask().await.ok()).await.into_inner();
    answer.next().await.unwrap().unwrap();
    collector.revoke_bearer(&token).await;
    eventually(async || ask().await.err()).await;
    let refused = loop {
        if let Err(status) = answer.next().await.expect("a part must not pass for the whole") {
            break status;
        }
    };
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
}

#[tokio::test]
async fn who_asks_on_and_on_what_calls_there_are_is_answered_until_it_is_revoked() {
    const URI: &str = "fleetmark://reader/x";
    let collector = start_known(Asked::default()).await;
    let card = collector.others.card(URI, collector.now() + 1.hours());
    let channel = collector.dial(Some(&card)).await;
    let question = || ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let (ask, asked) = tokio::sync::mpsc::channel(1);
    ask.send(question()).await.unwrap();
    let mut client = ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(ReceiverStream::new(asked)).await;
    let mut answers = answers.unwrap().into_inner();
    for _ in 0..2 {
        answers.next().await.unwrap().unwrap();
        ask.send(question()).await.unwrap();
    }
    answers.next().await.unwrap().unwrap();
    collector.revoke(URI, false).await;
    let mut reader = QueryClient::new(channel);
    eventually(async || reader.runs(RunsRequest::default()).await.err()).await;
    ask.send(question()).await.unwrap();
    let answer = answers.next().await;
    assert!(!matches!(answer, Some(Ok(_))), "{answer:?}");
}
