//! Where people say what shall be done: close, retry, approve, deny, cancel, hold, release, halt and resume, over a Unix socket of this machine.
//!
//! Who speaks is the kernel's word about the other end of the socket, never a name or a token in the message; who may speak
//! at all is the file's permissions: root, the server's own user, and one group if the operator names it. The doors for alerts
//! have none of this. Each command is one append with the expected entry number, answered once it is durable; what may be said
//! where an incident stands is [`Incident::allows`]. Absent on purpose: doing anything; the healer reads what was written and goes on.

mod hold;
mod people;
mod routes;
mod socket;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{info, warn};

use crate::action::Action;
use crate::alert::IncidentId;
use crate::clock::Time;
use crate::halt::{self, Halt, MOST_REASON};
use crate::hold::Holds;
use crate::incident::timeline::explain;
use crate::incident::{Closing, Event, Incident, Intent, Phase, Progress};
use crate::journal::{Append, Appended, Journal, JournalError};
use crate::policy::Policy;
use crate::policy::approve::Person;
use crate::policy::brakes::ALL_KEY;
use crate::policy::present::{Present, Reload, Reloaded};
use crate::receive::intake::Intake;
use crate::telemetry::clean;

pub use hold::{Held, LetGo, Listed, Wanted, after_hold};
pub use people::{group_of, myself, without_a_group};
pub use socket::{OpenError, Socket};

/// The socket's name in the data folder.
pub const FILE: &str = "operator.sock";

/// How much of a digest has to be named.
pub const SHORTEST_DIGEST: usize = 8;

/// For the halt file to be written; a disk that hangs must not hang whoever halts.
const FILE_WITHIN: Duration = Duration::from_secs(5);

/// For finding out what is under way; only a note hangs on it.
const LOOK_WITHIN: Duration = Duration::from_secs(3);

/// As much of a digest as is shown to be typed.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Tries to write one command; each lost try means that something else was written about the incident meanwhile.
const TRIES: usize = 50;

/// Where people are listened to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The socket; without it, `operator.sock` in the data folder.
    pub socket: Option<PathBuf>,
    /// The group whose members may use it beside root and the server's own user.
    pub group: Option<String>,
}

impl Settings {
    /// Where the socket is.
    pub fn path(&self, data: &Path) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| data.join(FILE))
    }
}

/// What a person wants of one incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is over, or it is that person's.
    Close,
    /// It shall be tried again.
    Retry,
    /// What has this digest, or one that begins so, may be done.
    Approve(String),
    /// It must not be done.
    Deny,
    /// What is under way shall be ended, and nothing further done.
    Cancel,
}

impl Wish {
    /// The command's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Retry => "retry",
            Self::Approve(_) => "approve",
            Self::Deny => "deny",
            Self::Cancel => "cancel",
        }
    }

    fn event(&self, by: String, message: String) -> Event {
        match self {
            Self::Close => Event::Closed { how: Closing::Person, message: format!("{by}: {message}") },
            Self::Retry => Event::Retried { by, message },
            Self::Approve(digest) => Event::Approved { by, message, digest: digest.clone() },
            Self::Deny => Event::Denied { by, message },
            Self::Cancel => Event::Stopped { by, message },
        }
    }

    fn follows(&self, incident: &Incident) -> String {
        let follows = match self {
            Self::Close => {
                "this firing is left to people; if the alert ends and fires again, a new incident begins. It goes on to fire where it fires"
            }
            Self::Retry => "its policy is asked again, and how long it had been firing counts no more",
            Self::Approve(_) => {
                "it is authorised again as it stands now, and then done; if the target has changed, nothing is done"
            }
            Self::Deny => "nothing of it is done; its policy is told so and asked again",
            Self::Cancel => return after_cancel(incident),
        };
        follows.to_owned()
    }
}

/// A command that is on disk.
#[derive(Debug, Serialize)]
pub struct Done {
    /// About which incident.
    pub incident: String,
    /// Which command.
    pub command: &'static str,
    /// Who gave it.
    pub by: String,
    /// The entry's number in the incident.
    pub entry: u64,
    /// What follows now.
    pub next: String,
}

/// An incident for somebody who is to say yes or no.
#[derive(Debug, Serialize)]
pub struct View {
    /// Which.
    pub incident: String,
    /// The alert's name.
    pub alert: String,
    /// Where it stands.
    pub state: &'static str,
    /// What waits for a yes or a no.
    pub awaiting: Option<Awaiting>,
}

/// What waits for a yes or a no.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Awaiting {
    /// What would be done.
    pub actions: Vec<String>,
    /// What else the yes is bound to.
    pub details: Vec<String>,
    /// Its hash.
    pub digest: String,
    /// Until when a person is waited for.
    pub until: String,
}

impl Awaiting {
    /// What of this incident waits, if anything does.
    pub fn of(incident: &Incident) -> Option<Self> {
        let Phase::Awaiting { actions, digest, until, .. } = &incident.phase else { return None };
        Some(Self {
            actions: actions.iter().map(ToString::to_string).collect(),
            details: explain(actions),
            digest: digest.clone(),
            until: until.to_string(),
        })
    }
}

/// Whether everything is halted, and what is being done all the same.
#[derive(Debug, Serialize)]
pub struct Halted {
    /// Is it?
    pub halted: bool,
    /// By whom, why, since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halt: Option<Halt>,
    /// What was begun and has no result yet, which is finished; and what was about to begin, which does not if the halt was faster.
    pub running: Vec<Running>,
    /// Why it is not known what is under way, if so: `running` is then empty and says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What follows now.
    pub next: String,
}

impl Halted {
    /// What is said to whoever asked. A journal that does not tell what is under way takes nothing away from what was done.
    pub fn told(halt: Option<Halt>, running: Result<Vec<Running>, String>, next: impl Into<String>) -> Self {
        let (running, note) = match running {
            Ok(running) => (running, None),
            Err(why) => (Vec::new(), Some(format!("what is under way cannot be found out: {}", clean(&why, 500)))),
        };
        Self { halted: halt.is_some(), halt, running, note, next: next.into() }
    }
}

/// An action that is under way, or about to be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Running {
    /// Whose.
    pub incident: String,
    /// What.
    pub action: String,
    /// Whether it has begun.
    pub begun: bool,
    /// Whether a person wants it ended: a playbook is, within 15 s; a call to an engine cannot be taken back.
    pub cancelling: bool,
}

impl Running {
    /// All that is under way about certain incidents: whoever acts holds the lock of acting. Asks for its holders, and then for each of them.
    ///
    /// # Errors
    /// When the journal does not tell.
    pub async fn all<H, I>(
        holders: impl FnOnce(&'static str) -> H,
        incident: impl Fn(IncidentId) -> I,
        which: impl Fn(&Incident) -> bool,
    ) -> Result<Vec<Self>, JournalError>
    where
        H: Future<Output = Result<Vec<IncidentId>, JournalError>>,
        I: Future<Output = Result<Option<Incident>, JournalError>>,
    {
        let mut running = Vec::new();
        for id in holders(ALL_KEY).await? {
            running.extend(incident(id).await?.iter().filter(|incident| which(incident)).flat_map(Self::of));
        }
        Ok(running)
    }

    fn of(incident: &Incident) -> Vec<Self> {
        let intents = incident.attempts.last().into_iter().flat_map(|attempt| &attempt.intents);
        let of = |intent: &Intent| {
            let begun = match intent.progress {
                Progress::Begun(_) => true,
                Progress::Intended => false,
                Progress::Ended(_) | Progress::Cancelled(_) => return None,
            };
            Some(Self {
                incident: incident.id.to_string(),
                action: intent.action.to_string(),
                begun,
                cancelling: incident.stopped().is_some(),
            })
        };
        intents.filter_map(of).collect()
    }
}

/// A reason as it is kept: one line without anything that a terminal would obey.
///
/// # Errors
/// What is wrong with it.
pub fn reason(text: &str) -> Result<String, String> {
    if text.chars().count() > MOST_REASON {
        return Err(format!("the reason is longer than {MOST_REASON} characters"));
    }
    let reason = clean(text.trim(), MOST_REASON).trim().to_owned();
    if reason.is_empty() { Err("a reason is needed: the next person reads it".to_owned()) } else { Ok(reason) }
}

/// Why a command was not taken.
#[derive(Debug, thiserror::Error)]
pub enum No {
    /// There is no such incident, or several.
    #[error("{0}")]
    NoSuch(String),
    /// It makes no sense where the incident stands; the text says what does.
    #[error("{0}")]
    State(String),
    /// That person may not.
    #[error("{0}")]
    Forbidden(String),
    /// It can never be right; the text says what would be.
    #[error("{0}")]
    Bad(String),
    /// The journal, or the halt file, did not take it.
    #[error("{0}")]
    Broken(String),
}

impl From<JournalError> for No {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::NoSuch(why) => Self::NoSuch(why),
            error => Self::Broken(error.to_string()),
        }
    }
}

/// Takes the commands of people.
pub struct Operator {
    journal: Journal,
    intake: Arc<Intake>,
    policies: Present<HashMap<String, Arc<Policy>>>,
    reload: Option<Reload>,
    halt_file: PathBuf,
    holds: Holds,
    nudge: UnboundedSender<IncidentId>,
}

impl Operator {
    /// `policies` by their names, as they are loaded; `nudge` is told of every incident about which something was written.
    pub fn new(
        journal: Journal,
        intake: Arc<Intake>,
        policies: Present<HashMap<String, Arc<Policy>>>,
        halt_file: PathBuf,
        holds: Holds,
        nudge: UnboundedSender<IncidentId>,
    ) -> Self {
        Self { journal, intake, policies, reload: None, halt_file, holds, nudge }
    }

    /// The same, who can also have the policies and plugins taken over anew.
    #[must_use]
    pub fn reloading(self, reload: Reload) -> Self {
        Self { reload: Some(reload), ..self }
    }

    /// Takes the files of policies and plugins over as they are now.
    ///
    /// # Errors
    /// [`No::State`] with everything that is wrong with them; what was loaded goes on.
    pub async fn reload(&self, who: &Person) -> Result<Reloaded, No> {
        let Some(reload) = &self.reload else { return Err(No::Broken("this server cannot reload".to_owned())) };
        reload(format!("{who} said so")).await.map_err(|why| No::State(why.to_string()))
    }

    /// The incident whose id is, or begins with, this.
    ///
    /// # Errors
    /// [`No::NoSuch`], [`No::Broken`].
    pub async fn view(&self, beginning: &str) -> Result<View, No> {
        let incident = self.read(&self.journal.find(beginning).await?).await?;
        Ok(View {
            incident: incident.id.to_string(),
            alert: clean(incident.alert.name(), 120),
            state: incident.state(),
            awaiting: Awaiting::of(&incident),
        })
    }

    /// Writes down what this person wants of one incident. Returning `Ok` means that it is on disk.
    ///
    /// # Errors
    /// [`No`].
    pub async fn command(&self, who: &Person, beginning: &str, wish: &Wish, reason: &str) -> Result<Done, No> {
        let id = self.journal.find(beginning).await?;
        for _ in 0..TRIES {
            let incident = self.read(&id).await?;
            let event = self.allowed(who, &incident, wish, reason).inspect_err(|no| {
                warn!(incident = %id, by = %who, uid = who.uid, command = wish.word(), %no, "What a person wanted was not taken");
            })?;
            let (Appended::Committed { seq: entry, .. } | Appended::Already { seq: entry, .. }) =
                self.write(Append::new(id.clone(), Some(incident.seq), vec![event])).await?
            else {
                continue;
            };
            info!(incident = %id, by = %who, uid = who.uid, command = wish.word(), reason, "A person has spoken");
            // Nobody listens any more when the server is stopping; the next start reads it.
            let _ = self.nudge.send(id.clone());
            return Ok(Done {
                incident: id.to_string(),
                command: wish.word(),
                by: who.to_string(),
                entry,
                next: wish.follows(&incident),
            });
        }
        Err(No::Broken(format!("incident {id} kept changing meanwhile, nothing was written: try again")))
    }

    async fn read(&self, id: &IncidentId) -> Result<Incident, No> {
        self.journal.incident(id).await?.ok_or_else(|| No::NoSuch(format!("there is no incident {id}")))
    }

    async fn write(&self, append: Append) -> Result<Appended, No> {
        let closes = matches!(append.events.as_slice(), [Event::Closed { .. }]);
        let once = |append: Append| async move {
            if closes { self.intake.close(append).await } else { self.journal.append(append).await }
        };
        let appended = match once(append.clone()).await {
            // The same append, so that it cannot be written twice.
            Err(JournalError::Unknown(_)) => once(append).await?,
            other => other?,
        };
        if appended == Appended::Fenced { Err(JournalError::fenced().into()) } else { Ok(appended) }
    }

    /// The entry, if it makes sense where the incident stands and this person may write it.
    fn allowed(&self, who: &Person, incident: &Incident, wish: &Wish, reason: &str) -> Result<Event, No> {
        let mut event = wish.event(who.to_string(), reason.to_owned());
        if matches!(wish, Wish::Approve(_) | Wish::Deny) {
            let Phase::Awaiting { digest, until, .. } = &incident.phase else { return Err(out_of_place(incident, wish)) };
            self.may_approve(who, incident)?;
            if let (Wish::Approve(named), Event::Approved { digest: approved, .. }) = (wish, &mut event) {
                self.may_be_done(incident, *until)?;
                if named.len() < SHORTEST_DIGEST || !digest.starts_with(named.as_str()) {
                    let shown = short(digest);
                    let message = format!(
                        "what waits has the digest {shown}..., not {}: look at it again with `paramedic incident show {}`; nothing was approved",
                        named.escape_debug(),
                        incident.id
                    );
                    return Err(No::State(message));
                }
                approved.clone_from(digest);
            }
        }
        if incident.allows(&event) { Ok(event) } else { Err(out_of_place(incident, wish)) }
    }

    /// Who may say yes or no is asked of the policy as it is loaded now.
    fn may_approve(&self, who: &Person, incident: &Incident) -> Result<(), No> {
        let name = incident.owner.as_ref().map_or("?", |owner| owner.policy.as_str());
        let policies = self.policies.now();
        let Some(policy) = policies.get(name) else {
            let message = format!("policy {name} is gone, and with it who may say yes: close it, or bring the policy back");
            return Err(No::State(message));
        };
        let Some(approvers) = &policy.approvers else { return Ok(()) };
        if approvers.iter().any(|approver| approver.is(who)) {
            return Ok(());
        }
        let listed: Vec<String> = approvers.iter().map(ToString::to_string).collect();
        Err(No::Forbidden(format!(
            "{who} may not say yes or no for policy {name}: its approvers are {}; ask one of them, or change `approvers` there",
            listed.join(", ")
        )))
    }

    /// A yes that could not be followed would be spent for nothing.
    fn may_be_done(&self, incident: &Incident, until: Time) -> Result<(), No> {
        if until <= Time::now() {
            let id = &incident.id;
            let message =
                format!("too late: a yes was waited for until {until}; `paramedic incident retry {id} --reason ...` asks again");
            return Err(No::State(message));
        }
        let held = || self.holds.in_the_way(&incident.alert.labels).map(|hold| hold.message);
        let why = halt::in_the_way(&self.halt_file).or_else(held);
        why.map_or(Ok(()), |why| Err(No::State(format!("nothing was approved: {why}"))))
    }

    /// Is everything halted, and what is under way?
    ///
    /// # Errors
    /// [`No::Broken`].
    pub async fn halted(&self) -> Result<Halted, No> {
        let halt = self.file(halt::read).await?;
        let next = match &halt {
            Some(_) => NOTHING_BEGINS,
            None => "actions begin as the policies and the brakes allow",
        };
        Ok(Halted::told(halt, self.running(|_| true).await, next))
    }

    /// Halts everything. Returning `Ok` means that it is on disk.
    ///
    /// # Errors
    /// [`No::Broken`].
    pub async fn halt(&self, who: &Person, reason: &str) -> Result<Halted, No> {
        let halt = Halt::now(&who.to_string(), reason);
        let new = halt.clone();
        let before = self.file(move |file| halt::write(file, &new)).await?;
        warn!(by = %who, uid = who.uid, reason, already = before.is_some(), "Everything is halted: no action begins");
        Ok(Halted::told(Some(before.clone().unwrap_or(halt)), self.running(|_| true).await, after_halt(before.as_ref())))
    }

    /// Wants everything stopped that is under way, after a halt: whoever it is that could not be told, the halt stands.
    pub async fn cancel_running(&self, who: &Person, reason: &str, mut halted: Halted) -> Halted {
        let mut unsaid = Vec::new();
        for running in &mut halted.running {
            match self.command(who, &running.incident, &Wish::Cancel, reason).await {
                Ok(_) => running.cancelling = true,
                // It has ended meanwhile, or somebody else was faster.
                Err(No::State(_)) => {}
                Err(no) => unsaid.push(format!("{}: {no}", running.incident)),
            }
        }
        if !unsaid.is_empty() {
            halted.note = Some(format!("not everything could be told to stop: {}", unsaid.join("; ")));
        }
        halted
    }

    /// Lets go. Returning `Ok` means that it is on disk.
    ///
    /// # Errors
    /// [`No::Broken`].
    pub async fn resume(&self, who: &Person, reason: &str) -> Result<Halted, No> {
        let before = self.file(halt::remove).await?;
        warn!(by = %who, uid = who.uid, reason, was_halted = before.is_some(), "Not halted any more: actions may begin");
        let next = match before {
            Some(before) => format!("no longer {before}. What was held is asked again within 5 s"),
            None => "nothing was halted, nothing has changed".to_owned(),
        };
        Ok(Halted::told(None, self.running(|_| true).await, next))
    }

    /// Does this with the halt file, away from the threads that serve everybody: a disk may hang.
    async fn file<T: Send + 'static>(&self, work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static) -> Result<T, No> {
        let file = self.halt_file.clone();
        let work = tokio::task::spawn_blocking(move || work(&file));
        let why = match tokio::time::timeout(FILE_WITHIN, work).await {
            Ok(Ok(Ok(done))) => return Ok(done),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => {
                format!("the disk did not answer within {} s, and it is not known what became of it", FILE_WITHIN.as_secs())
            }
        };
        let file = self.halt_file.display();
        Err(No::Broken(format!("{file}: {why}; by hand `touch` on that file halts, and `rm` (of a folder `rmdir`) lets go")))
    }

    async fn running(&self, which: impl Fn(&Incident) -> bool) -> Result<Vec<Running>, String> {
        let look = Running::all(|key| self.journal.holders(key), async |id| self.journal.incident(&id).await, which);
        match tokio::time::timeout(LOOK_WITHIN, look).await {
            Ok(running) => running.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the journal did not answer within {} s", LOOK_WITHIN.as_secs())),
        }
    }
}

/// What a halt means from now on.
const NOTHING_BEGINS: &str = "nothing begins before somebody says `paramedic resume --reason ...`";

/// What follows a halt; who halted before stays.
pub fn after_halt(before: Option<&Halt>) -> String {
    match before {
        Some(before) => format!("already {before}; that stays as it is. {NOTHING_BEGINS}"),
        None => NOTHING_BEGINS.to_owned(),
    }
}

/// What follows when a person wants stopped what is under way.
fn after_cancel(incident: &Incident) -> String {
    let begun = |intent: &&Intent| matches!(intent.progress, Progress::Begun(_));
    let under_way = incident.attempts.last().and_then(|attempt| attempt.intents.iter().find(begun));
    let then = format!(
        "the incident escalates then, and nothing further is done before `paramedic incident retry {} --reason ...`",
        incident.id
    );
    match under_way.map(|intent| &intent.action) {
        Some(action @ Action::Docker { .. }) => {
            format!(
                "{action} was asked of its engine already, which cannot take it back: it is finished, and nothing behind it is begun; {then}"
            )
        }
        Some(action @ Action::Playbook { .. }) => {
            format!(
                "{action}: all its processes are ended within 15 s, wherever they are in it: what it has changed stays changed; {then}"
            )
        }
        Some(action) => format!("{action} is one short request that is finished, and nothing behind it is begun; {then}"),
        None => format!("what had not begun does not begin; {then}"),
    }
}

/// Why a command makes no sense where the incident stands, and what does.
fn out_of_place(incident: &Incident, wish: &Wish) -> No {
    let (id, state) = (&incident.id, incident.state());
    let shows = format!("`paramedic incident show {id}` tells why");
    No::State(match (&incident.phase, wish) {
        (Phase::Closed(_), _) => format!("incident {id} is closed: {shows}; if its alert fires again, a new one begins"),
        (_, Wish::Approve(_) | Wish::Deny) => {
            format!("incident {id} does not wait for a yes or a no, it is {state}: {shows}, and who was faster")
        }
        (Phase::Acting, Wish::Cancel) => {
            let who = incident.stopped().unwrap_or("somebody stopped it");
            format!("incident {id} is being stopped already: {who}; {shows}")
        }
        (_, Wish::Cancel) => {
            format!(
                "incident {id} is {state}, and nothing of it is under way that could be ended: `paramedic hold` or `paramedic incident close {id}` keeps it from acting"
            )
        }
        (Phase::Acting, Wish::Close) => format!(
            "incident {id} is acting: `paramedic incident cancel {id} --reason ...` ends that first; wait until that has ended, or say `paramedic halt --reason ...` so that nothing further begins"
        ),
        (Phase::Verifying(_) | Phase::Verified(_), Wish::Close) => format!(
            "incident {id} is {state}: wait until that has ended, or say `paramedic halt --reason ...` so that nothing further begins"
        ),
        (Phase::Awaiting { .. }, Wish::Retry) => {
            format!("incident {id} waits for a yes or a no: `paramedic incident approve {id}` or `deny`")
        }
        _ => format!("incident {id} is {state}, which goes on by itself: {shows}"),
    })
}
