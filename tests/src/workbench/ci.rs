//! The workflow of `docs/ci.md`, run as it stands there: its own scripts, on a repository laid out as the page says.

use std::path::Path;
use std::process::{Command, Output};

use crate::crash::binary;

/// Prints every step's script, and a line of `~` after each, but those that fetch Paramedic and toolchains.
const STEPS: &str = "
import sys, yaml
page = sys.stdin.read()
flow = yaml.safe_load(page.split('`.github/workflows/policies.yml`:')[1].split('```yaml')[1].split('```')[0])
for step in flow['jobs']['policies']['steps']:
    if 'run' in step and not step.get('name', '').startswith('Get '):
        print(step['run'].rstrip())
        print('~')
";

/// The scripts of the workflow, in their order.
fn scripts() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ci.md");
    // Ansible is here, and with it a parser.
    let output = Command::new("python3").args(["-c", STEPS]).stdin(std::fs::File::open(page).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.split("~\n").map(str::to_owned).filter(|script| !script.is_empty()).collect()
}

/// Runs them as the runner does, each in a shell of its own that ends at the first failure; the last that ran.
fn run(repository: &Path) -> (usize, Output) {
    let path = format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let scripts = scripts();
    assert_eq!(scripts.len(), 2, "{scripts:?}");
    let mut ran = None;
    for (n, script) in scripts.iter().enumerate() {
        let mut shell = Command::new("bash");
        shell.args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]).current_dir(repository);
        let output = shell.env("PATH", &path).env("XDG_CACHE_HOME", repository.join(".cache")).output().unwrap();
        let failed = !output.status.success();
        ran = Some((n + 1, output));
        if failed {
            break;
        }
    }
    ran.unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// For a repository with the project `heal-web` in it.
pub(super) fn the_workflow_runs_as_written(repository: &Path) {
    std::fs::write(repository.join("paramedic.yaml"), "{}\n").unwrap();
    std::fs::create_dir(repository.join("policies")).unwrap();
    let policy = repository.join("policies/50-web.yaml");
    let written = "name: heal-web\nplugin: heal-web.wasm\nmatch: ['alertname=\"WebDown\"']\n";
    std::fs::write(&policy, written).unwrap();
    let (steps, output) = run(repository);
    assert!(output.status.success() && steps == 2, "{}", words(&output));
    assert!(words(&output).contains("ok  heal-web only observes, asks heal-web.wasm"), "{}", words(&output));
    let report = std::fs::read_to_string(repository.join("reports/heal-web.xml")).unwrap();
    assert!(report.contains("failures=\"0\"") && report.contains("<testcase "), "{report}");

    // A policy file that does not fit is found in the second step, a case that fails in the first, shown in the log and in the report.
    std::fs::write(&policy, format!("{written}settings: {{nothing: 1}}\n")).unwrap();
    let (steps, output) = run(repository);
    assert!(!output.status.success() && steps == 2 && words(&output).contains("50-web.yaml:4:"), "{}", words(&output));
    let cases = repository.join("heal-web/cases/restart.yaml");
    let text = std::fs::read_to_string(&cases).unwrap();
    assert!(text.contains("WebDown fires"), "{text}");
    std::fs::write(&cases, text.replace("WebDown fires", "the sun shines")).unwrap();
    let (steps, output) = run(repository);
    assert!(!output.status.success() && steps == 1 && words(&output).contains("FAIL  "), "{}", words(&output));
    let report = std::fs::read_to_string(repository.join("reports/heal-web.xml")).unwrap();
    assert!(report.contains("<failure"), "{report}");
    std::fs::write(&cases, text).unwrap();
}
