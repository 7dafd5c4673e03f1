//! The whole pipeline on this host: a collector on a socket that is its own, an agent, delivery over real gRPC.

mod place;

use std::{path::Path, sync::Arc};

use fleetmark_agent::{
    args::MeasureArgs,
    command::measured,
    delivery::{Courier, Event, Flushed, Pace},
    run::{Findings, RunError},
    spool::{Bounds, Spool, SpoolError},
};
use fleetmark_proto::{
    convert::{Encoded, Outcome},
    limits,
    report::Report,
    shell::output::tell,
};
use tokio::sync::oneshot;

use place::Place;

use crate::{
    server::{self, ServeError},
    store::Store,
};

/// The pipeline broke.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nothing could be measured.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The report could not be kept.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The embedded collector failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// There is no place for the embedded collector's socket.
    #[error(
        "there is no place for a socket, neither in the state folder nor in that of temporary files"
    )]
    Place(#[source] std::io::Error),
    /// A part of the pipeline ended without a word.
    #[error("a part of the pipeline panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// What came of it.
#[derive(Debug)]
pub struct Local {
    /// What was measured.
    pub report: Report,
    /// What the embedded collector said of it.
    pub flushed: Flushed,
}

/// Measures this host, with an embedded collector that is there before and idle while samples are taken.
///
/// # Errors
///
/// If nothing could be measured or the embedded collector failed. A report that was not delivered is no error here.
pub async fn local(
    arguments: MeasureArgs,
    state_dir: &Path,
    findings: Findings,
    store: Arc<dyn Store>,
) -> Result<Local, LocalError> {
    // Nobody else comes there, so nobody has to show anything, whether this host's collector was set up or not.
    let place = Place::new(state_dir).map_err(LocalError::Place)?;
    let socket = server::bind_socket(place.path())?;
    let url = place.url().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        // Dropping the sender stops the collector as well as sending does.
        let _ = stopped.await;
    };
    let collector = tokio::spawn(server::serve(socket, store, shutdown));

    // A spool of its own: what waits in the agent's is for the fleet's collector.
    let spool = Spool::open(&state_dir.join("collector").join("local"), Bounds::default())?;
    let room = spool.reserve()?;
    let state_dir = state_dir.to_owned();
    let report = tokio::task::spawn_blocking(move || {
        let report = measured(&arguments, None, &state_dir, findings)?;
        room.commit(&Encoded::new(&report))?;
        Ok::<Report, LocalError>(report)
    })
    .await??;
    // That the embedded collector takes a report is news only where it does not.
    let outlet = |event| match event {
        Event::Answered { outcome: Outcome::Stored | Outcome::Duplicate, .. } => {}
        event => tell(event),
    };
    let mut courier = Courier::new(vec![url], spool, Pace::default(), outlet);
    let flushed = courier.flush(Some(report.id), limits::DELIVERY).await;
    drop(stop);
    collector.await??;
    Ok(Local { report, flushed })
}
