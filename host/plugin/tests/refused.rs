//! Files that are refused, each with its own text: components put together by hand.

use setpoint_plugin::{HostOptions, PluginError, PluginHost};

/// A component that imports and exports empty instances of these names.
fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    let mut section = |id: u8, body: Vec<u8>| {
        let length = u8::try_from(body.len()).expect("a short section");
        assert!(length < 0x80, "one digit of LEB128");
        bytes.extend([id, length]);
        bytes.extend(body);
    };
    let name = |name: &str| {
        let mut bytes = vec![0, u8::try_from(name.len()).expect("a short name")];
        bytes.extend(name.as_bytes());
        bytes
    };
    // The type of an instance without exports.
    section(7, vec![1, 0x42, 0]);
    for import in imports {
        section(10, [vec![1], name(import), vec![5, 0]].concat());
    }
    // An instance made of nothing, to be exported.
    section(5, vec![1, 1, 0]);
    let made = u8::try_from(imports.len()).expect("few imports");
    for export in exports {
        section(11, [vec![1], name(export), vec![5, made, 0]].concat());
    }
    bytes
}

fn refused(bytes: &[u8]) -> PluginError {
    let host = PluginHost::new(HostOptions { max_instances: 1, ..HostOptions::default() }).expect("a host");
    host.load(bytes).expect_err("refused")
}

#[test]
fn a_component_of_another_world_is_told_what_is_missing() {
    let error = refused(&component(&[], &["wasi:cli/run@0.2.6"]));
    assert!(matches!(&error, PluginError::OtherWorld { exports } if exports == &["wasi:cli/run@0.2.6"]), "{error:?}");
    assert!(error.to_string().contains("it does not export setpoint:reconciler/guest"), "{error}");
    assert!(matches!(refused(&component(&[], &[])), PluginError::OtherWorld { .. }));
}

#[test]
fn an_unknown_version_of_the_contract_is_refused_with_the_known_ones() {
    let error = refused(&component(&[], &["setpoint:reconciler/guest@0.9.0"]));
    assert!(matches!(&error, PluginError::UnknownVersion { found } if found == "0.9.0"), "{error:?}");
    assert!(error.to_string().contains("this host knows 0.1.0"), "{error}");
}

#[test]
fn imports_that_plugins_do_not_have_are_refused_by_name() {
    let error = refused(&component(
        &["wasi:io/poll@0.2.6", "wasi:filesystem/preopens@0.2.6", "wasi:sockets/tcp@0.2.6"],
        &["setpoint:reconciler/guest@0.1.0"],
    ));
    let PluginError::Imports { names } = &error else { panic!("{error:?}") };
    assert_eq!(names, &["wasi:filesystem/preopens@0.2.6", "wasi:sockets/tcp@0.2.6"]);
    let text = error.to_string();
    assert!(text.contains("there are no files") && text.contains("there are no sockets"), "{text}");
}

#[test]
fn a_component_whose_functions_do_not_fit_is_refused() {
    let error = refused(&component(&[], &["setpoint:reconciler/guest@0.1.0"]));
    assert!(matches!(&error, PluginError::Interface { version, .. } if version == "0.1.0"), "{error:?}");
    assert!(error.to_string().contains("describe"), "{error}");
}

#[test]
fn modules_damage_and_other_files_are_refused_without_harm() {
    assert!(matches!(refused(b""), PluginError::Empty));
    assert!(matches!(refused(b"hello"), PluginError::NotWasm(_)));
    assert!(matches!(refused(b"\0asm\x01\0\0\0"), PluginError::CoreModule));
    let whole = component(&["wasi:io/poll@0.2.6"], &["setpoint:reconciler/guest@0.1.0"]);
    assert!(matches!(refused(&whole[..whole.len() - 1]), PluginError::Truncated { .. }));
    // A section of a kind that does not exist.
    let damaged = [&whole[..], &[0x77, 1, 0]].concat();
    assert!(matches!(refused(&damaged), PluginError::Compile(_)));
}
