//! Tells what happens: the operator once each, and whoever waits for the end of a flush in sums.

use fleetmark_proto::{convert::Outcome, id::ReportId, shell};
use jiff::{SignedDuration, Timestamp};
use url::Url;

use super::{
    error::DeliveryError,
    event::{Again, Event},
};

/// What became of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// A collector answered it. Stored and duplicate ones have left the spool, the others are in quarantine.
    Answered {
        /// The collector.
        url: Url,
        /// What it said.
        outcome: Outcome,
    },
    /// It is in quarantine, and why.
    SetAside(String),
    /// It has left the spool at the hands of another agent that uses the same.
    Elsewhere,
    /// It is in the spool, and will be delivered later.
    Waiting,
}

/// What happened since the account was opened.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) stored: u64,
    pub(super) duplicate: u64,
    pub(super) quarantined: u64,
    pub(super) watched: Option<ReportId>,
    pub(super) fate: Option<Fate>,
    pub(super) last: Option<DeliveryError>,
}

/// What an operator was told and need not hear again.
pub(super) struct Herald {
    outlet: Box<dyn FnMut(Event) + Send>,
    failing: Option<Again>,
    unanswered: bool,
    spool: bool,
    renewing: bool,
    clock: bool,
    foreign: u64,
    pub(super) account: Account,
}

impl Herald {
    pub(super) fn new(outlet: impl FnMut(Event) + Send + 'static) -> Self {
        Self {
            outlet: Box::new(outlet),
            failing: None,
            unanswered: false,
            spool: false,
            renewing: false,
            clock: false,
            foreign: 0,
            account: Account::default(),
        }
    }

    pub(super) fn answered(&mut self, id: ReportId, url: &Url, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Stored => &mut self.account.stored,
            Outcome::Duplicate => &mut self.account.duplicate,
            Outcome::Conflict(_) | Outcome::Rejected(_) => &mut self.account.quarantined,
        };
        *counter += 1;
        if self.account.watched == Some(id) {
            self.account.fate = Some(Fate::Answered { url: url.clone(), outcome: outcome.clone() });
        }
        (self.outlet)(Event::Answered { id, url: url.clone(), outcome });
    }

    pub(super) fn set_aside(&mut self, id: ReportId, reason: String) {
        self.account.quarantined += 1;
        if self.account.watched == Some(id) {
            self.account.fate = Some(Fate::SetAside(reason.clone()));
        }
        (self.outlet)(Event::SetAside { id, reason });
    }

    /// A call failed. An operator hears of the first of a streak, and of the first after which only they can help.
    pub(super) fn failing(&mut self, error: DeliveryError, again: Again) {
        if self.failing != Some(again) {
            self.failing = Some(again);
            (self.outlet)(Event::Failing { reason: shell::one_line(&error), again });
        }
        self.account.last = Some(error);
    }

    /// A call brought answers.
    pub(super) fn answers(&mut self, url: &Url) {
        if self.failing.take().is_some() {
            (self.outlet)(Event::Recovered { url: url.clone() });
        }
    }

    pub(super) fn unanswered(&mut self, error: DeliveryError) {
        if !self.unanswered {
            self.unanswered = true;
            (self.outlet)(Event::Unanswered { reason: shell::one_line(&error) });
        }
        self.account.last = Some(error);
    }

    pub(super) fn spool(&mut self, error: DeliveryError) {
        if !self.spool {
            self.spool = true;
            (self.outlet)(Event::Spool { reason: shell::one_line(&error) });
        }
        self.account.last = Some(error);
    }

    /// There is a new certificate. That the clock is off is told once, and once again after it was right.
    pub(super) fn renewed(&mut self, ends_at: Timestamp, ahead: Option<SignedDuration>) {
        self.renewing = false;
        (self.outlet)(Event::Renewed { ends_at });
        if let Some(ahead) = ahead.filter(|_| !self.clock) {
            (self.outlet)(Event::ClockOff { ahead });
        }
        self.clock = ahead.is_some();
    }

    /// The certificate cannot be renewed, and still counts.
    pub(super) fn not_renewed(&mut self, error: &DeliveryError, ends_at: Timestamp) {
        if !self.renewing {
            self.renewing = true;
            (self.outlet)(Event::NotRenewed { reason: shell::one_line(error), ends_at });
        }
    }

    pub(super) fn foreign(&mut self, records: u64) {
        if records > self.foreign {
            (self.outlet)(Event::Foreign { records });
        }
        self.foreign = records;
    }

    /// Nothing is waiting: what goes wrong from here on is news again.
    pub(super) fn done(&mut self) {
        self.unanswered = false;
        self.spool = false;
    }
}
