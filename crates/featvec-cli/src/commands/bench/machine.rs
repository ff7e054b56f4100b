//! Which processor this is.

use std::fs;

/// The processor as Linux describes it, with family and model where its name leaves them open; none elsewhere.
pub fn cpu() -> Option<String> {
    describe(&fs::read_to_string("/proc/cpuinfo").ok()?)
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
