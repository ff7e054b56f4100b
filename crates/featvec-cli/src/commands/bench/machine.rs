//! Which processor this is, and what this process takes of its memory.

use std::fs;

/// The processor as Linux describes it, with family and model where its name leaves them open; none elsewhere.
pub fn cpu() -> Option<String> {
    describe(&fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// The most memory that this process has held at a time, as Linux tells; none elsewhere.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib * 1024)
}

fn describe(cpuinfo: &str) -> Option<String> {
    let field = |wanted: &str| {
        let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.trim(), value.trim())).find(|(name, _)| *name == wanted)
    };
    let (_, name) = field("model name")?;
    Some(match (field("cpu family"), field("model")) {
        (Some((_, family)), Some((_, model))) => format!("{name} (family {family}, model {model})"),
        _ => name.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn a_processor_has_a_name() {
        let intel = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R)\n\nprocessor\t: 1\n";
        assert_eq!(describe(intel).unwrap(), "Intel(R) Xeon(R) (family 6, model 207)");
        assert_eq!(describe("model name: ARMv8\n").unwrap(), "ARMv8");
        assert_eq!(describe("processor : 0\n"), None);
    }
}
