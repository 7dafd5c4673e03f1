//! What is whose: no submission of one agent's touches what is another's.

use std::collections::HashMap;

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use super::{known::*, raw::eventually, *};

/// One report that an agent submits.
#[derive(Clone, Debug)]
struct Step {
    /// Which agent submits it.
    by: usize,
    /// Whose host it says it is of.
    claims: usize,
    /// Which report id it has; the same one may come again, of another host and with other content.
    report: usize,
    /// Which content.
    content: u64,
}

const HOSTS: [&str; 2] = ["a", "b"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..2_usize, 0..2_usize, 0..3_usize, 0..2_u64);
    let step = step.prop_map(|(by, claims, report, content)| Step { by, claims, report, content });
    vec(step, 1..12)
}

#[test]
fn no_sequence_of_submissions_touches_what_is_anothers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (collector, channels) = runtime.block_on(async {
        let collector = start_known(Asked::default()).await;
        let mut channels = Vec::new();
        for host in HOSTS {
            let card = collector.agent(host).await;
            let channel = collector.dial(Some(&card)).await;
            eventually(async || submit(&channel, vec![]).await.err().filter(is_known)).await;
            channels.push(channel);
        }
        (collector, channels)
    });
    let mut runner = TestRunner::new(ProptestConfig { cases: 48, ..ProptestConfig::default() });
    runner
        .run(&steps(), |steps| {
            runtime.block_on(play(&collector, &channels, &steps));
            Ok(())
        })
        .unwrap();
}

/// Whether an empty batch was refused for being empty, and not for who sent it.
fn is_known(status: &tonic::Status) -> bool {
    status.code() == Code::InvalidArgument
}

async fn play(collector: &Known, channels: &[Channel], steps: &[Step]) {
    let ids: Vec<ReportId> = (0..3).map(|_| ReportId::now()).collect();
    // Which agent stored a report first, and what it was.
    let mut stored: HashMap<ReportId, (usize, Digest)> = HashMap::new();
    for step in steps {
        let mut report = testing::pair(HOSTS[step.claims], 0.5);
        report.id = ids[step.report];
        report.seed = step.content;
        let at = "2026-11-25T09:00:00Z".parse().unwrap();
        (report.started_at, report.ended_at) = (at, at);
        let encoded = Encoded::new(&report);
        let digest = encoded.digest;
        let answers = submit(&channels[step.by], vec![encoded.into_envelope()]).await.unwrap();
        let said = answers[0].outcome.as_ref().unwrap();
        if step.by != step.claims {
            match said {
                Wire::Rejected(rejected) => {
                    assert_eq!(rejected.field, "host.id");
                    assert_eq!(rejected.reason, "is not the host of this certificate");
                }
                other => panic!("{step:?}: {other:?}"),
            }
            continue;
        }
        match stored.get(&report.id) {
            None => {
                assert!(matches!(said, Wire::Stored(_)), "{step:?}: {said:?}");
                stored.insert(report.id, (step.by, digest));
            }
            Some((_, before)) if *before == digest => {
                assert!(matches!(said, Wire::Duplicate(_)), "{step:?}: {said:?}");
            }
            Some(_) => assert!(matches!(said, Wire::Conflict(_)), "{step:?}: {said:?}"),
        }
    }
    let runs = collector.store.runs(None).await.unwrap();
    let ours: Vec<_> = runs.iter().filter(|run| ids.contains(&run.report.id)).collect();
    assert_eq!(ours.len(), stored.len());
    for run in ours {
        let (by, digest) = stored[&run.report.id];
        assert_eq!(run.report.host.id.as_str(), HOSTS[by]);
        assert_eq!(Encoded::new(&run.report).digest, digest);
    }
}

#[tokio::test]
async fn who_is_trusted_for_its_place_submits_for_any_host() {
    let collector = start_known(Asked::default()).await;
    let near = collector.near().await;
    let batch = HOSTS.map(|host| envelope(&testing::pair(host, 0.5)));
    for answer in submit(&near, batch.to_vec()).await.unwrap() {
        assert!(matches!(answer.outcome, Some(Wire::Stored(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn of_a_batch_only_what_is_anothers_is_rejected() {
    let collector = start_known(Asked::default()).await;
    let card = collector.agent("a").await;
    let channel = collector.dial(Some(&card)).await;
    let batch = ["a", "b", "a"].map(|host| envelope(&testing::pair(host, 0.5))).to_vec();
    let answers = eventually(async || submit(&channel, batch.clone()).await.ok()).await;
    let kinds = answers.iter().map(|answer| matches!(answer.outcome, Some(Wire::Stored(_))));
    assert_eq!(kinds.collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn a_token_speaks_for_its_own_host_alone() {
    let collector = start_known(Asked { is_tls: false, ..Asked::default() }).await;
    let token = collector.agents_bearer("a", Duration::from_secs(600)).await;
    let bearer = fleetmark_agent::delivery::Bearer::new(&token);
    let mut client = IngestClient::with_interceptor(connect(collector.address).await, bearer);
    let reports = ["a", "b", "a"].map(|host| envelope(&testing::pair(host, 0.5))).to_vec();
    let batch = SubmitRequest { reports, sent_at: None };
    let answers = eventually(async || client.submit(batch.clone()).await.ok()).await;
    let answers = answers.into_inner().answers;
    let [Some(Wire::Stored(_)), Some(Wire::Rejected(rejected)), Some(Wire::Stored(_))] =
        &answers.iter().map(|answer| answer.outcome.clone()).collect::<Vec<_>>()[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(rejected.field, "host.id");
    assert_eq!(rejected.reason, "is not a, the host of this token");
    let runs = collector.store.runs(None).await.unwrap();
    assert!(runs.iter().all(|run| run.report.host.id.as_str() == "a") && runs.len() == 2);
}
