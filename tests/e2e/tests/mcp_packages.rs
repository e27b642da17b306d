//! MCP servers that nobody here wrote, from npm and PyPI: started, listed, called through the host, killed,
//! changed, suspended, deleted.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use setpoint_e2e::{MCP_SERVER, PROCESS, in_state, mcp_server, pid_of};
use setpoint_test_support::mcp::{McpClient, packaged};
use setpoint_test_support::{Host, Setup, run};

/// Interpreters take their time on a machine that does other things beside.
const SLOW: Duration = Duration::from_secs(60);

struct Package {
    name: &'static str,
    spec: String,
    /// A tool, its arguments, and what is in its answer.
    call: (&'static str, Value, String),
}

/// Two of npm, one of them through `npx` with the shell that it starts, and two of PyPI.
fn packages(dir: &Path, repository: &Path) -> Vec<Package> {
    let stdio = |command: &str, args: &[&str]| {
        format!("type: stdio, autoStart: true, timeout: 60, command: {command:?}, args: {args:?}")
    };
    let path = |path: &str| dir.join(path).display().to_string();
    let repo = repository.display().to_string();
    vec![
        Package {
            name: "everything",
            spec: stdio("npx", &["--offline", "--prefix", &dir.display().to_string(), "mcp-server-everything"]),
            call: ("echo", json!({"message": "through the host"}), "through the host".into()),
        },
        Package {
            name: "filesystem",
            spec: stdio(&path("node_modules/.bin/mcp-server-filesystem"), &[&repo]),
            call: ("read_text_file", json!({"path": format!("{repo}/hello.txt")}), "hello".into()),
        },
        Package {
            name: "time",
            spec: stdio(&path("venv/bin/mcp-server-time"), &["--local-timezone", "UTC"]),
            call: ("get_current_time", json!({"timezone": "UTC"}), "UTC".into()),
        },
        Package {
            name: "git",
            spec: stdio(&path("venv/bin/mcp-server-git"), &["--repository", &repo]),
            call: ("git_status", json!({"repo_path": repo}), "hello.txt".into()),
        },
    ]
}

fn repository(setup: &Path) -> std::path::PathBuf {
    let dir = setup.join("repository");
    let made = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(dir.join("hello.txt"), "hello\n"));
    assert!(made.is_ok(), "{made:?}");
    run(Command::new("git").args(["init", "--quiet"]).arg(&dir), SLOW).ok();
    dir
}

fn running(host: &Host, name: &str) -> u32 {
    host.wait_within(&format!("{name} is running"), SLOW, |host| {
        in_state(host, name, "Running").filter(|status| status["toolCount"].as_u64() > Some(0))
    });
    pid_of(host, name).unwrap_or_else(|| panic!("{name} is running without a process"))
}

fn setup() -> Setup {
    Host::setup().plugin("mcp-server").arg("--grant").arg("mcp-server=process").arg("--grant").arg("mcp-server=http:*")
}

#[test]
fn packaged_servers_are_started_called_killed_changed_suspended_and_deleted() {
    let Some(dir) = packaged() else { return };
    let host = setup().start();
    let packages = packages(&dir, &repository(host.root()));
    for package in &packages {
        host.write(&format!("{}.yaml", package.name), &mcp_server(package.name, &package.spec));
    }
    for Package { name, call: (tool, arguments, expected), .. } in &packages {
        running(&host, name);
        let mut client = McpClient::connect(&host, name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(client.tools().is_ok_and(|tools| tools.contains(&(*tool).to_owned())), "{name}");
        let answer = client.call(tool, arguments);
        assert!(answer.as_ref().is_ok_and(|text| text.contains(expected)), "{name}: {answer:?}");
    }
    for Package { name, spec, .. } in &packages {
        let before = pid_of(&host, name).unwrap_or_default();
        run(Command::new("sh").args(["-c", "kill -KILL \"$0\""]).arg(before.to_string()), SLOW).ok();
        host.wait_within(&format!("{name} runs again"), SLOW, |host| {
            let again = in_state(host, name, "Running")?["restartCount"] == 1;
            (again && pid_of(host, name).is_some_and(|pid| pid != before)).then_some(())
        });
        let before = pid_of(&host, name).unwrap_or_default();
        host.write(&format!("{name}.yaml"), &mcp_server(name, &format!("{spec}, env: {{MARK: \"1\"}}")));
        host.wait_within(&format!("{name} runs with the change"), SLOW, |host| {
            in_state(host, name, "Running")?;
            pid_of(host, name).is_some_and(|pid| pid != before).then_some(())
        });
        host.write(&format!("{name}.yaml"), &mcp_server(name, &format!("{spec}, suspended: true")));
        host.wait_within(&format!("{name} is suspended"), SLOW, |host| {
            in_state(host, name, "Stopped")?;
            host.object(PROCESS, name).is_none().then_some(())
        });
        host.remove(&format!("{name}.yaml"));
        host.wait_within(&format!("{name} is gone"), SLOW, |host| {
            host.object(MCP_SERVER, name).is_none().then_some(())
        });
    }
}

#[test]
fn a_packaged_server_is_spoken_to_over_http() {
    let Some(dir) = packaged() else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.unwrap_or_else(|error| panic!("no port is free: {error}")).port();
    let mut server = Command::new(dir.join("node_modules/.bin/mcp-server-everything"))
        .arg("streamableHttp")
        .env("PORT", port.to_string())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("the server cannot be started: {error}"));
    let url = format!("http://127.0.0.1:{port}/mcp");
    let connected = std::panic::catch_unwind(|| {
        let host = setup()
            .file("a.yaml", &mcp_server("remote", &format!("type: streamable-http, autoStart: true, url: {url:?}")))
            .start();
        host.wait_within("it is connected", SLOW, |host| match in_state(host, "remote", "Connected") {
            Some(status) => Some(status),
            None => {
                // It may have been dialled before it listened: no need to wait for the backoff.
                let path = format!("/v1/reconciles/{}/trigger", Host::path(setpoint_e2e::PROBE, "remote"));
                host.client().post(&path).ok();
                std::thread::sleep(Duration::from_millis(200));
                None
            }
        })
    });
    let _ = server.kill();
    let _ = server.wait();
    let status = connected.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    assert!(status["tools"].as_array().is_some_and(|tools| tools.contains(&json!("echo"))), "{status}");
}
