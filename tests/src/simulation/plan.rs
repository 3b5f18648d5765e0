//! A plan: everything that will go wrong in one simulated hour, as small numbers, so that it shrinks well.

use proptest::collection::vec;
use proptest::prelude::*;

/// What would make an alert stop firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cure {
    /// Restarting its container.
    Restart,
    /// The playbook.
    Playbook,
    /// Time, in seconds.
    Alone(u16),
    /// Nothing.
    Nothing,
}

/// One alert that will fire.
#[derive(Clone, Debug)]
pub struct Firing {
    /// Which container it is about.
    pub service: u8,
    /// When it begins, in seconds.
    pub at: u16,
    /// What would end it.
    pub cure: Cure,
    /// Seconds after being cured until it fires again, once.
    pub again: Option<u16>,
    /// Through which doors it is told.
    pub webhook: bool,
    /// Whether Prometheus posts it.
    pub post: bool,
    /// Whether the sources that are looked at list it.
    pub listed: bool,
    /// Seconds between what is and what the detectors say.
    pub lag: u8,
}

/// Something that goes wrong, or that a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The engine cannot be reached.
    EngineDown,
    /// The engine does what it is asked and never answers.
    EngineHangs,
    /// The connection breaks; what was asked takes place all the same.
    EngineBreaks,
    /// The detectors cannot tell.
    Blind,
    /// The detectors say that all is well.
    LieWell,
    /// The detectors say that everything fires.
    LieFiring,
    /// The sources list nothing, as after their restart.
    ListsEmpty,
    /// The sources cannot be reached.
    ListsDown,
    /// Every alert is silenced.
    Silenced,
    /// It cannot be found out whether an alert is silenced.
    SilencesUnknown,
    /// A person halted everything.
    Halted,
    /// A person holds everything, until the end of the trouble.
    Held,
    /// What the policies' `unless` asks for has a result.
    Deploying,
    /// It cannot be asked.
    PrometheusDown,
    /// Alertmanager cannot be reached to make or end a silence.
    ManagerDown,
    /// It says no.
    ManagerRefuses,
    /// It does what it is asked, some seconds later, and the answer is lost.
    ManagerBreaks,
    /// The channel says no.
    ChannelRefuses,
    /// It takes what it is told, and the answer is lost.
    ChannelBreaks,
    /// The journal cannot be written.
    DiskFull,
    /// Commits fail, and nobody knows whether they took place: every second one did.
    DiskUnsure,
    /// What was written is acknowledged late.
    DiskSlow,
    /// A person stops a container on purpose, and starts it at the end of the trouble.
    Stopped(u8),
    /// A person pauses a container on purpose, and lets it go on at the end of the trouble.
    Paused(u8),
    /// Somebody deploys a container anew.
    Recreated(u8),
    /// A person asks to try an incident again.
    Retried(u8),
    /// A person closes an incident.
    ClosedByPerson(u8),
    /// A person says yes to what waits for it.
    Approved(u8),
    /// A person says no.
    Denied(u8),
    /// A person wants what is under way stopped.
    Cancelled(u8),
    /// A sender repeats what it said of an alert last.
    Repeated(u8),
    /// A sender delivers late that an alert fires, although it may be over.
    Late(u8),
}

/// When the server is killed.
#[derive(Clone, Copy, Debug)]
pub enum Kill {
    /// At this second.
    At(u16),
    /// At this operation: before or after an append, before or after a side effect, counted from the start.
    Operation(u16),
    /// At this one of the operations before and after a side effect.
    Effect(u8),
}

/// One thing of an act, of the families beside restarts and playbooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Restart the container.
    Restart,
    /// Freeze it.
    Pause,
    /// Let it go on.
    Unpause,
    /// Tell it something that ends no program.
    Hup,
    /// End it.
    Kill,
    /// Run the playbook, only the tasks with a granted tag.
    Tagged,
    /// Only ask what it would change.
    Check,
    /// Silence what is about this container.
    Silence,
    /// End this policy's silences about it.
    Expire,
    /// Say something to a channel.
    Notify,
    /// Something that no grant covers: which of them.
    Forbidden(u8),
}

/// How many kinds of [`Deed::Forbidden`] there are.
pub const FORBIDDEN: u8 = 6;

/// What the policy does, attempt by attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Restart the container.
    Restart,
    /// Run the playbook.
    Playbook,
    /// Restart it, then run the playbook, in one act.
    Both,
    /// Do these, in one act.
    Act(Vec<Deed>),
    /// Wait for so many seconds first.
    Wait(u8),
    /// Do nothing.
    Ignore,
    /// It is not this policy's business.
    Pass,
    /// The plugin crashes.
    Crash,
    /// Call a person.
    Escalate,
}

/// One simulated stretch of time.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What fires.
    pub firings: Vec<Firing>,
    /// What goes wrong: when, for how many seconds, what.
    pub troubles: Vec<(u16, u8, Trouble)>,
    /// When the server is killed, and for how many seconds it is down.
    pub kills: Vec<(Kill, u8)>,
    /// The policy's ladder; after it, a person is called.
    pub ladder: Vec<Rung>,
    /// Seconds of cooldown.
    pub cooldown: u8,
    /// Attempts per target in ten minutes.
    pub attempts: u8,
    /// Actions in ten minutes, altogether; in half an hour so many more.
    pub actions: (u8, u8),
    /// Actions of one policy in ten minutes; in half an hour so many more.
    pub policy_actions: (u8, u8),
    /// Acts at once.
    pub concurrent: u8,
    /// Acts of one policy at once.
    pub policy_concurrent: u8,
    /// One container has to stay healthy while the other is restarted.
    pub minimum_healthy: bool,
    /// Seconds that the engine takes for a restart, and the playbook for a run.
    pub takes: u8,
    /// The policy heals what a person stopped.
    pub heals_deliberate: bool,
    /// The policy acts when it cannot be found out whether it may.
    pub acts_unsure: bool,
    /// The policies ask a person first.
    pub approve: bool,
    /// A second policy, for every second container.
    pub two_policies: bool,
    /// Two new targets within [`STORM`] seconds are a storm.
    pub storms: bool,
    /// The engine forgets at once when a container was paused.
    pub forgets: bool,
    /// What was cured comes back again and again.
    pub crash_loop: bool,
    /// Seconds in which attempts count.
    pub window: u16,
    /// Seconds until nothing goes wrong any more and nothing fires.
    pub length: u16,
}

/// Seconds in which two new targets are a storm, where a plan says so.
pub const STORM: u16 = 40;

/// How long most plans are.
pub const LENGTH: u16 = HORIZON + 100;

/// Seconds until everything that goes wrong has gone wrong.
pub const HORIZON: u16 = 300;

/// Containers there are.
pub const SERVICES: u8 = 2;

fn cure() -> impl Strategy<Value = Cure> {
    prop_oneof![4 => Just(Cure::Restart), 2 => Just(Cure::Playbook), 1 => (1_u16..200).prop_map(Cure::Alone), 1 => Just(Cure::Nothing)]
}

fn firing() -> impl Strategy<Value = Firing> {
    let doors = prop_oneof![
        Just((true, false, true)),
        Just((true, true, true)),
        Just((true, false, false)),
        Just((false, true, false)),
        Just((false, false, true))
    ];
    (0..SERVICES, 0..HORIZON / 2, cure(), proptest::option::weighted(0.3, 1_u16..120), doors, 0_u8..20).prop_map(
        |(service, at, cure, again, (webhook, post, listed), lag)| Firing {
            service,
            at,
            cure,
            again,
            webhook,
            post,
            listed,
            lag,
        },
    )
}

fn trouble() -> impl Strategy<Value = Trouble> {
    use Trouble::*;
    prop_oneof![
        prop_oneof![Just(EngineDown), Just(EngineHangs), Just(EngineBreaks)],
        prop_oneof![Just(Blind), Just(LieWell), Just(LieFiring), Just(ListsEmpty), Just(ListsDown)],
        prop_oneof![Just(Silenced), Just(SilencesUnknown), Just(Halted), Just(Held), Just(Deploying), Just(PrometheusDown)],
        prop_oneof![Just(DiskFull), Just(DiskUnsure), Just(DiskSlow)],
        prop_oneof![Just(ManagerDown), Just(ManagerRefuses), Just(ManagerBreaks), Just(ChannelRefuses), Just(ChannelBreaks)],
        prop_oneof![1 => (0..SERVICES).prop_map(Stopped), 2 => (0..SERVICES).prop_map(Paused), 1 => (0..SERVICES).prop_map(Recreated)],
        (0_u8..3, 0_usize..7).prop_map(|(n, what)| [
            Retried(n),
            ClosedByPerson(n),
            Approved(n),
            Denied(n),
            Cancelled(n),
            Repeated(n),
            Late(n)
        ][what]),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    use Deed::*;
    prop_oneof![
        2 => Just(Restart), 2 => Just(Pause), 2 => Just(Unpause), 1 => Just(Hup), 1 => Just(Kill), 1 => Just(Tagged), 2 => Just(Check),
        2 => Just(Silence), 2 => Just(Expire), 2 => Just(Notify),
    ]
}

/// Alone, in the mixes that policies are written with, and in any other.
fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    use Deed::*;
    prop_oneof![
        4 => deed().prop_map(|deed| vec![deed]),
        2 => Just(vec![Notify, Restart]),
        2 => Just(vec![Silence, Restart]),
        1 => Just(vec![Pause, Unpause]),
        1 => Just(vec![Silence, Tagged, Expire]),
        4 => vec(deed(), 2..4),
        1 => (deed(), 0..FORBIDDEN).prop_map(|(deed, forbidden)| vec![deed, Forbidden(forbidden)]),
    ]
}

fn rung() -> impl Strategy<Value = Rung> {
    prop_oneof![
        6 => Just(Rung::Restart), 4 => Just(Rung::Playbook), 2 => Just(Rung::Both), 1 => (1_u8..40).prop_map(Rung::Wait),
        8 => deeds().prop_map(Rung::Act), 1 => Just(Rung::Ignore), 1 => Just(Rung::Pass), 1 => Just(Rung::Crash), 1 => Just(Rung::Escalate),
    ]
}

/// Some of the ladders that only make sense as such.
fn ladder() -> impl Strategy<Value = Vec<Rung>> {
    use Deed::*;
    let act = |deeds: &[Deed]| Rung::Act(deeds.to_vec());
    prop_oneof![
        8 => vec(rung(), 1..4),
        1 => Just(vec![act(&[Silence]), act(&[Expire])]),
        1 => Just(vec![act(&[Silence, Restart]), act(&[Expire, Notify])]),
        1 => Just(vec![act(&[Pause]), act(&[Unpause])]),
        1 => Just(vec![act(&[Notify]), act(&[Check]), act(&[Tagged])]),
    ]
}

fn kill() -> impl Strategy<Value = (Kill, u8)> {
    let when =
        prop_oneof![(0..HORIZON).prop_map(Kill::At), (0_u16..120).prop_map(Kill::Operation), (0_u8..12).prop_map(Kill::Effect)];
    (when, 0_u8..30)
}

/// All plans.
pub fn plans() -> impl Strategy<Value = Plan> {
    let happens = (vec(firing(), 1..4), vec((0..HORIZON, 1_u8..90, trouble()), 0..6), vec(kill(), 0..4), ladder());
    let rates = ((1_u8..8, 0_u8..4), (1_u8..8, 0_u8..4));
    let at_once = (1_u8..3, 1_u8..3, proptest::bool::weighted(0.5));
    let brakes = (0_u8..40, 1_u8..4, rates, at_once, 0_u8..20);
    let storms = proptest::bool::weighted(0.3);
    (happens, brakes, ((any::<(bool, bool, bool)>(), proptest::bool::weighted(0.3)), proptest::bool::weighted(0.2), storms))
        .prop_map(
            |(
                (firings, troubles, kills, ladder),
                (cooldown, attempts, (actions, policy_actions), (concurrent, policy_concurrent, minimum_healthy), takes),
                (((heals_deliberate, acts_unsure, two_policies), forgets), approve, storms),
            )| Plan {
                firings,
                troubles,
                kills,
                ladder,
                cooldown,
                attempts,
                actions,
                policy_actions,
                concurrent,
                policy_concurrent,
                minimum_healthy,
                takes,
                heals_deliberate,
                acts_unsure,
                approve,
                two_policies,
                storms,
                forgets,
                crash_loop: false,
                window: 600,
                length: LENGTH,
            },
        )
}
