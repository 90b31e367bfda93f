//! Processes of this machine, by names that mean nothing on another.

use super::Processes;

/// Names a process by boot, process namespace and number, as far as the system tells them.
#[derive(Debug, Clone, Copy)]
pub struct SystemProcesses;

impl Processes for SystemProcesses {
    fn own(&self) -> String {
        format!("{}/{}/{}", boot(), namespace(), std::process::id())
    }

    fn has_ended(&self, name: &str) -> Option<bool> {
        let mut parts = name.splitn(3, '/');
        let (then, there, number) = (parts.next()?, parts.next()?, parts.next()?);
        let (now, here) = (boot(), namespace());
        if then.is_empty() || now.is_empty() {
            return None;
        }
        if then != now {
            return Some(true);
        }
        // A number means nothing in another namespace.
        if there != here {
            return None;
        }
        ended(number.parse().ok()?)
    }
}

/// The system's name for this run of it; empty where it has none.
fn boot() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    name.map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// Containers count their processes for themselves.
fn namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid");
    let name = link.map(|link| link.to_string_lossy().into_owned());
    name.unwrap_or_default().replace('/', "")
}

#[cfg(unix)]
fn ended(number: i32) -> Option<bool> {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};
    match test_kill_process(Pid::from_raw(number)?) {
        Err(Errno::SRCH) => Some(true),
        Ok(()) | Err(Errno::PERM) => Some(false),
        Err(_) => None,
    }
}

#[cfg(not(unix))]
fn ended(_: i32) -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_until_it_has_ended() {
        let processes = SystemProcesses;
        let own = processes.own();
        assert_ne!(processes.has_ended(&own), Some(true));
        assert_eq!(processes.has_ended(""), None);
        assert_eq!(processes.has_ended("a/b/x"), processes.has_ended("a/b/y"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_ended_process_and_another_boot_are_told() {
        let processes = SystemProcesses;
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let number = child.id();
        let name = format!("{}/{}/{number}", boot(), namespace());
        child.wait().unwrap();
        assert_eq!(processes.has_ended(&name), Some(true));
        assert_eq!(processes.has_ended(&processes.own()), Some(false));
        let elsewhere = format!("{}/another/{number}", boot());
        assert_eq!(processes.has_ended(&elsewhere), None);
        let before = format!("00000000-boot/{}/{number}", namespace());
        assert_eq!(processes.has_ended(&before), Some(true));
    }
}
