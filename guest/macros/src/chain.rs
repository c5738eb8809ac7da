//! Expansion of `#[jar_guest::chain]`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{
    Attribute, Error, FnArg, Ident, Item, ItemFn, ItemMod, LitInt, Result, ReturnType, Type,
};

/// Who may invoke an endpoint; the numbers are those of the Image's roles.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Call = 0,
    View = 1,
    Genesis = 2,
    Schedule = 3,
    Transact = 4,
    Dispatch = 5,
}

impl Role {
    fn of(attribute: &Attribute) -> Option<Role> {
        let roles = [
            ("call", Role::Call),
            ("view", Role::View),
            ("genesis", Role::Genesis),
            ("schedule", Role::Schedule),
            ("transact", Role::Transact),
            ("dispatch", Role::Dispatch),
        ];
        roles
            .into_iter()
            .find(|(name, _)| attribute.path().is_ident(name))
            .map(|(_, role)| role)
    }
}

struct Endpoint {
    function: ItemFn,
    role: Role,
    index: u8,
    order: u8,
    into: Option<Ident>,
    attestations: Option<u32>,
    phases: bool,
    raw: bool,
}

pub fn expand(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !attribute.is_empty() {
        return Err(Error::new_spanned(attribute, "#[chain] takes no arguments"));
    }
    let mut module: ItemMod = syn::parse2(item)?;
    let Some((_, items)) = &mut module.content else {
        return Err(Error::new_spanned(
            module,
            "#[chain] needs a module with its body in place",
        ));
    };
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for item in items.iter_mut() {
        let Item::Fn(function) = item else { continue };
        if let Some(endpoint) = take_endpoint(function, endpoints.len())? {
            if endpoints.iter().any(|other| other.index == endpoint.index) {
                let name = &endpoint.function.sig.ident;
                return Err(Error::new_spanned(
                    name,
                    format!("index {} is used twice", endpoint.index),
                ));
            }
            let is_genesis = |other: &Endpoint| other.role == Role::Genesis;
            if is_genesis(&endpoint) && endpoints.iter().any(is_genesis) {
                let name = &endpoint.function.sig.ident;
                return Err(Error::new_spanned(name, "a chain has one Genesis endpoint"));
            }
            endpoints.push(endpoint);
        }
    }
    if endpoints.is_empty() {
        return Err(Error::new(
            Span::call_site(),
            "a chain has at least one endpoint",
        ));
    }
    let entries = endpoints
        .iter()
        .map(|e| entry(e, &endpoints))
        .collect::<Result<Vec<_>>>()?;
    let descriptors = endpoints.iter().map(descriptor);
    items.push(syn::parse_quote! {
        /// The endpoints as the kernel enters them: φ7..φ10 to the halt value.
        #[doc(hidden)]
        #[allow(missing_docs, unused_variables)]
        pub mod endpoints { #(#entries)* }
    });
    let metadata = metadata();
    // On the host nothing but a test enters the endpoints.
    module.attrs.push(syn::parse_quote! {
        #[cfg_attr(not(target_arch = "riscv64"), allow(dead_code))]
    });
    items.push(syn::parse_quote! {
        #[cfg(target_arch = "riscv64")]
        #[allow(unsafe_code)]
        const _: () = { #(#descriptors)* #metadata };
    });
    Ok(quote! {
        #module
        // A guest has no main function; the host's test harness wants one.
        #[cfg(not(target_arch = "riscv64"))]
        #[allow(dead_code)]
        fn main() {}
    })
}

/// Removes the role attribute from a function, if it has one.
fn take_endpoint(function: &mut ItemFn, position: usize) -> Result<Option<Endpoint>> {
    let Some(at) = function.attrs.iter().position(|a| Role::of(a).is_some()) else {
        return Ok(None);
    };
    let attribute = function.attrs.remove(at);
    if let Some(second) = function.attrs.iter().find(|a| Role::of(a).is_some()) {
        return Err(Error::new_spanned(second, "a function has one role"));
    }
    let Some(role) = Role::of(&attribute) else {
        return Ok(None);
    };
    if !function.sig.generics.params.is_empty() || function.sig.asyncness.is_some() {
        return Err(Error::new_spanned(
            &function.sig,
            "an endpoint is a plain function",
        ));
    }
    let index = u8::try_from(position)
        .map_err(|_| Error::new_spanned(&function.sig, "at most 256 endpoints"))?;
    let mut endpoint = Endpoint {
        function: function.clone(),
        role,
        index,
        order: 0,
        into: None,
        attestations: None,
        phases: false,
        raw: false,
    };
    if !matches!(attribute.meta, syn::Meta::Path(_)) {
        attribute.parse_nested_meta(|meta| {
            let ordered = matches!(role, Role::Schedule | Role::Transact);
            if meta.path.is_ident("index") {
                endpoint.index = meta.value()?.parse::<LitInt>()?.base10_parse()?;
            } else if meta.path.is_ident("order") && ordered {
                endpoint.order = meta.value()?.parse::<LitInt>()?.base10_parse()?;
            } else if meta.path.is_ident("raw") && matches!(role, Role::Call | Role::View) {
                endpoint.raw = true;
            } else if meta.path.is_ident("into") && role == Role::Dispatch {
                endpoint.into = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("phases") && role == Role::Dispatch {
                endpoint.phases = true;
            } else if meta.path.is_ident("attestations") && role == Role::Dispatch {
                endpoint.attestations = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
            } else {
                return Err(meta.error("not an option of this role"));
            }
            Ok(())
        })?;
    }
    if endpoint.phases && (function.sig.inputs.len() != 1 || endpoint.attestations.is_some()) {
        return Err(Error::new_spanned(
            &function.sig,
            "a Dispatch endpoint with `phases` takes a Dispatching, and counts no attestations",
        ));
    }
    if endpoint.raw && function.sig.inputs.len() != 1 {
        return Err(Error::new_spanned(
            &function.sig,
            "a raw endpoint takes its four registers, [u64; 4]",
        ));
    }
    if role == Role::Schedule && !function.sig.inputs.is_empty() {
        return Err(Error::new_spanned(
            &function.sig.inputs,
            "a Schedule endpoint takes no arguments",
        ));
    }
    Ok(Some(endpoint))
}

/// The function the kernel enters.
fn entry(endpoint: &Endpoint, all: &[Endpoint]) -> Result<TokenStream> {
    let name = &endpoint.function.sig.ident;
    let mut types = Vec::new();
    for input in &endpoint.function.sig.inputs {
        match input {
            FnArg::Typed(input) => types.push(&input.ty),
            FnArg::Receiver(receiver) => {
                return Err(Error::new_spanned(receiver, "an endpoint takes no self"));
            }
        }
    }
    let names: Vec<Ident> = (0..types.len())
        .map(|i| format_ident!("argument{i}"))
        .collect();
    let decode = match types.len() {
        0 => quote! { ::jar_guest::internal::arguments::<()>().map(|()| ()) },
        1 => quote! { ::jar_guest::internal::arguments::<#(#types)*>() },
        _ => quote! { ::jar_guest::internal::arguments::<(#(#types),*)>() },
    };
    let pattern = match names.len() {
        1 => quote! { #(#names)* },
        _ => quote! { (#(#names),*) },
    };
    let call = quote! { #name(#(#names),*) };
    let body = match endpoint.role {
        Role::Dispatch if endpoint.phases => {
            let (own, into) = (endpoint.index, into_index(endpoint, all)?);
            quote! {
                ::jar_guest::internal::dispatch_phases(phase, second, #own, #into, |call| {
                    ::core::convert::Into::into(#name(call))
                })
            }
        }
        Role::Dispatch => {
            let into = into_index(endpoint, all)?;
            let count = match endpoint.attestations {
                Some(count) => quote! { ::core::option::Option::Some(#count) },
                None => quote! { ::core::option::Option::None },
            };
            quote! {
                ::jar_guest::internal::dispatch(phase, #into, #count, || {
                    #decode.map(|#pattern| ::core::convert::Into::into(#call))
                })
            }
        }
        _ if endpoint.raw => quote! { #name([phase, second, third, fourth]) },
        Role::Schedule => finish(&endpoint.function.sig.output, &call),
        _ => {
            let finished = finish(&endpoint.function.sig.output, &call);
            quote! {
                let ::core::option::Option::Some(#pattern) = #decode else {
                    return ::jar_guest::BAD_ARGUMENTS;
                };
                #finished
            }
        }
    };
    Ok(quote! {
        pub extern "C-unwind" fn #name(phase: u64, second: u64, third: u64, fourth: u64) -> u64 {
            #[allow(unused_imports)]
            use super::*;
            #body
        }
    })
}

fn into_index(endpoint: &Endpoint, all: &[Endpoint]) -> Result<u8> {
    let name = &endpoint.function.sig.ident;
    let Some(into) = &endpoint.into else {
        return Err(Error::new_spanned(
            name,
            "a Dispatch endpoint needs `into = <Transact endpoint>`",
        ));
    };
    all.iter()
        .find(|e| e.function.sig.ident == *into && e.role == Role::Transact)
        .map(|e| e.index)
        .ok_or_else(|| Error::new_spanned(into, "not a Transact endpoint of this chain"))
}

/// Turns what the function returns into a halt value.
fn finish(output: &ReturnType, call: &TokenStream) -> TokenStream {
    match output {
        ReturnType::Default => quote! { { #call; ::jar_guest::internal::finish_unit() } },
        ReturnType::Type(_, ty) if is_result(ty) => {
            quote! { ::jar_guest::internal::finish_result(#call) }
        }
        ReturnType::Type(..) => quote! { ::jar_guest::internal::finish_value(&#call) },
    }
}

fn is_result(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|s| s.ident == "Result"),
        _ => false,
    }
}

fn descriptor(endpoint: &Endpoint) -> TokenStream {
    let name = &endpoint.function.sig.ident;
    let text = name.to_string();
    let (index, role, order) = (endpoint.index, endpoint.role as u8, endpoint.order);
    quote! {
        const _: () = {
            #[used]
            #[unsafe(link_section = ".jar.endpoints")]
            static DESCRIPTOR: ::jar_guest::internal::Descriptor =
                ::jar_guest::internal::Descriptor::new(endpoints::#name, #index, #role, #order, #text);
        };
    }
}

fn metadata() -> TokenStream {
    quote! {
        const TEXT: &str =
            concat!("name=", env!("CARGO_PKG_NAME"), "\nversion=", env!("CARGO_PKG_VERSION"), "\n");
        #[used]
        #[unsafe(link_section = ".jar.metadata")]
        static METADATA: [u8; TEXT.len()] = {
            let mut bytes = [0; TEXT.len()];
            let mut i = 0;
            while i < bytes.len() {
                bytes[i] = TEXT.as_bytes()[i];
                i += 1;
            }
            bytes
        };
    }
}
