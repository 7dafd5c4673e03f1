//! Keeps what is in this process' memory to itself, as there may be keys and tokens. Where the system does not allow that,
//! nothing is lost that there was.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Has no core dump written when this process dies, nor any other process of its user read its memory. Programs that it starts
/// begin anew: they write no core dumps either, and can be read as usual.
pub fn keep_private() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
