//! Answers: good ones, nonsense, and hostile ones.

use crate::bindings::paramedic::policy::types::{Act, Decision, Proposal, Wait};
use crate::bindings::paramedic::policy::{ansible, docker, incident};

/// What the guests act on when nobody names anything.
const WEB: &str = "local/web";

/// Red, a bell, a cleared screen, a window title, and text that is shown backwards.
const ESCAPES: &str = "\u{1b}[31mred\u{7}\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}1m\u{202e}sdrawkcab\u{2066}\r\nsecond line\0";

/// The answer to `verb`; `None` if it is none of these.
pub(crate) fn answer(verb: &str, rest: &str) -> Option<Result<Decision, String>> {
    let target = if rest.is_empty() { WEB } else { rest };
    let decision = match verb {
        "pass" => Decision::Pass("not mine".to_owned()),
        "ignore" => Decision::Ignore("known and harmless".to_owned()),
        "escalate" => Decision::Escalate("a person has to look".to_owned()),
        "wait" => wait(30_000),
        "long-wait" => wait(u64::MAX),
        "act" => act("restart it", vec![docker::restart(target, None)]),
        "start" => act("start it", vec![docker::start(target)]),
        "undeclared" => act("stop it, which was never declared", vec![docker::stop(target, None)]),
        "lie" => act("nothing will be touched", vec![docker::restart(target, Some(0))]),
        "two" => act("restart it, then run a playbook", vec![docker::restart(target, None), playbook("repair.yml", target, &[])]),
        "act-empty" => act("do nothing", Vec::new()),
        "act-17" => act("do too much", (0..17).map(|_| docker::restart(target, None)).collect()),
        "many-proposals" => act("do far too much", (0..10_000).map(|_| docker::restart(target, None)).collect()),
        "huge-reason" => Decision::Pass("x".repeat(10 << 20)),
        "long-reason" => Decision::Pass("ä".repeat(100 << 10)),
        "empty-reason" => Decision::Escalate(String::new()),
        "escapes" => Decision::Escalate(ESCAPES.to_owned()),
        "error" => return Some(Err(ESCAPES.to_owned())),
        "huge-error" => return Some(Err("x".repeat(100 << 10))),
        "huge-target" => act("restart it", vec![docker::restart(&"x".repeat(100 << 10), None)]),
        "told" => Decision::Pass(told()),
        _ => return playbooks(verb, rest).map(Ok),
    };
    Some(Ok(decision))
}

/// Playbooks that must be refused, and one that need not be.
fn playbooks(verb: &str, rest: &str) -> Option<Decision> {
    let variables: &[(&str, &str)] = match verb {
        "playbook" => &[],
        "playbook-not-json" => &[("container", "{not json")],
        "playbook-jinja" => &[("container", r#""{{ lookup('pipe', 'id') }}""#)],
        "playbook-ansible-vars" => &[("ansible_connection", r#""local""#), ("ansible_host", r#""db""#)],
        "playbook-odd-names" => &[("a b", "1"), ("", "2"), ("{{x}}", "3"), ("-e", "4")],
        "playbook-twice" => &[("container", r#""a""#), ("container", r#""b""#)],
        "playbook-huge-vars" => return Some(huge_variables()),
        _ => return None,
    };
    let name = if rest.is_empty() { "repair.yml" } else { rest };
    Some(act("run it", vec![playbook(name, WEB, variables)]))
}

fn huge_variables() -> Decision {
    let value = format!("{:?}", "x".repeat(100 << 10));
    act("run it", vec![playbook("repair.yml", WEB, &[("container", &value)])])
}

fn playbook(name: &str, about: &str, variables: &[(&str, &str)]) -> Proposal {
    let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = ansible::RunOptions { host: None, variables, tags: Vec::new(), check: false, extra: Vec::new() };
    ansible::playbook(name, about, &options)
}

fn act(reason: &str, proposals: Vec<Proposal>) -> Decision {
    Decision::Act(Act { reason: reason.to_owned(), proposals })
}

fn wait(duration: u64) -> Decision {
    Decision::Wait(Wait { reason: "not yet".to_owned(), duration })
}

/// All that the contract tells, so that a test can see it arrive.
fn told() -> String {
    format!(
        "{} {} {} {:?} {:?} {:?} {}",
        incident::id(),
        incident::trigger(),
        incident::now(),
        incident::alert(),
        incident::targets(),
        incident::attempts(),
        incident::settings(),
    )
}
