//! Keeps what is in this process' memory to itself, as there may be keys and tokens. Where the system does not allow that,
//! nothing is lost that there was.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Has no core dump written when this process dies.
pub fn keep_out_of_core_dumps() {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// The same, and no other process of its user reads its memory.
pub fn keep_private() {
    keep_out_of_core_dumps();
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
