//! The host side of `spin:variables@3.0.0`: a look-up in values resolved at start.
//!
//! Mirrors Spin's `crates/factor-variables/src/host.rs`, `get`, for variables of the manifest.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::component::{Accessor, HasData};

use bindings::spin::variables::variables;

mod bindings {
    #![allow(missing_docs, unreachable_pub, reason = "generated code")]
    wasmtime::component::bindgen!({
        inline: r#"
            package spin:variables@3.0.0;
            interface variables {
                get: async func(name: string) -> result<string, error>;
                variant error {
                    invalid-name(string),
                    undefined(string),
                    provider(string),
                    other(string),
                }
            }
            world host { import variables; }
        "#,
        imports: { default: async },
    });
}

pub(crate) use variables::add_to_linker;

/// The component's variables by name.
#[derive(Debug, Default, Clone)]
pub struct Variables(pub(crate) Arc<HashMap<String, String>>);

impl HasData for Variables {
    type Data<'a> = &'a mut Variables;
}

impl<T: Send> variables::HostWithStore<T> for Variables {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> Result<String, variables::Error> {
        accessor.with(|mut access| {
            let values = &access.get().0;
            values
                .get(&name)
                .cloned()
                .ok_or(variables::Error::Undefined(name))
        })
    }
}

impl variables::Host for Variables {}
