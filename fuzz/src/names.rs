//! Names, identifiers and quantities: what is accepted is written as it was read, and what is
//! refused is named in the error.

use corefn_core::address::Subnet;
use corefn_core::function::FunctionName;
use corefn_core::instance::InstanceId;
use corefn_core::names;
use corefn_core::quantity::{parse_duration, parse_size};

/// Checks one input; what is no text is passed over.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let quoted = format!("{text:?}");
    match text.parse::<FunctionName>() {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert_eq!(
                FunctionName::new(name.account(), name.name()).as_ref(),
                Ok(&name)
            );
            // Docker takes it as an image's and a container's name.
            assert!(names::image("corefn", &name).len() < 255);
        }
        // It names what is wrong: all of it, or one of the two segments.
        Err(error) => {
            let parts = text.split('/').map(|part| format!("{part:?}"));
            let error = error.to_string();
            assert!(
                parts
                    .chain([quoted.clone()])
                    .any(|part| error.contains(&part)),
                "{error}"
            );
        }
    }
    match text.parse::<InstanceId>() {
        Ok(id) => assert_eq!(id.to_string(), text.to_lowercase()),
        Err(error) => assert!(error.to_string().contains(&quoted)),
    }
    if let Err(error) = parse_duration(text) {
        assert!(error.to_string().contains(&quoted));
    }
    if let Err(error) = parse_size(text) {
        assert!(error.to_string().contains(&quoted));
    }
    if let Some(subnet) = Subnet::parse(text) {
        let turn = text.len() as u64;
        assert_ne!(subnet.address(turn), subnet.address(turn + 1));
        assert!(!subnet.address(u64::MAX).is_unspecified());
    }
}
