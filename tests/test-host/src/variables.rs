//! The host side of `spin:variables@3.0.0` and `fermyon:spin/variables@2.0.0`: a look-up in values resolved at start.
//!
//! Mirrors Spin's `crates/factor-variables/src/host.rs`, `get`, for variables of the manifest.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::component::{Accessor, HasData, Linker};

use crate::sqlite::v2::variables as v2;
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

/// Links both versions of the interface.
pub(crate) fn add_to_linker<T: Send>(
    linker: &mut Linker<T>,
    variables: fn(&mut T) -> &mut Variables,
) -> wasmtime::Result<()> {
    v2::add_to_linker::<_, Variables>(linker, variables)?;
    variables::add_to_linker::<_, Variables>(linker, variables)
}

/// The component's variables by name.
#[derive(Debug, Default, Clone)]
pub struct Variables(pub(crate) Arc<HashMap<String, String>>);

impl HasData for Variables {
    type Data<'a> = &'a mut Variables;
}

impl<T: Send> variables::HostWithStore<T> for Variables {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> Result<String, variables::Error> {
        let value = accessor.with(|mut access| access.get().0.get(&name).cloned());
        value.ok_or(variables::Error::Undefined(name))
    }
}

impl variables::Host for Variables {}

impl v2::Host for Variables {
    async fn get(&mut self, name: String) -> Result<String, v2::Error> {
        let value = self.0.get(&name).cloned();
        value.ok_or(v2::Error::Undefined(name))
    }
}
