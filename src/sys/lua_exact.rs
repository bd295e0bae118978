//! What of Lua's C would let a program see the machine, or the moment, that it runs on, made the same everywhere.
//!
//! The linker puts the functions of this file in the place of those that Lua calls (`--wrap`, see src/init/build.rs and
//! docs/decisions/0022). Four things differ otherwise:
//!
//! - **`#t` of a table with holes** is some border, and which depends on how much of the table is in its array part. That
//!   depends on when its hash part was last full, that on which keys collide, and that on a seed made of addresses
//!   and the time, or on the addresses of keys. Here it depends on what the table holds, and on nothing else.
//! - **The sign of `0/0`** is set by x86-64 and not by aarch64, and shown by `tostring` and `..`.
//! - **`x ^ y` and `math.sin`, `exp`, `log` ...** are the C library's, which rounds as the processor at hand does it
//!   fastest: with fused multiplication or without. Here they are made of operations whose results IEEE 754 defines.
//! - **How much memory a table takes** from which keys were removed depends on which of its keys collide, and that of texts
//!   on the state's seed, which is made of addresses and the time. A recipe's state has the same seed always: then what
//!   is too much for its memory is that in every run.

use std::cell::Cell;
use std::ffi::{c_char, c_uint, c_void};

use mlua::ffi::lua_State;

/// A value of Lua, as `TValue` in lobject.h of Lua 5.4.
#[repr(C)]
struct TaggedValue {
    /// A number's bits, among others.
    value: u64,
    tag: u8,
}

/// The bits of a tag that tell the type, and that of nil: the rest tells which kind of nil it is.
const TYPE: u8 = 0x0f;
const NIL: u8 = 0;

/// The tag of a float, `LUA_VNUMFLT`.
const FLOAT: u8 = 3 | (1 << 4);

#[allow(non_snake_case, reason = "Lua's names")]
unsafe extern "C" {
    /// The value at a whole number; of one that is not there, some nil.
    fn luaH_getint(table: *mut c_void, key: i64) -> *const TaggedValue;
    /// Lua's own `luaS_hash`.
    fn __real_luaS_hash(bytes: *const c_char, length: usize, seed: c_uint) -> c_uint;
    /// Lua's own `luaO_tostring`: puts the text of a number in its place.
    fn __real_luaO_tostring(state: *mut lua_State, value: *mut TaggedValue);
}

/// Whether a table has a value at this place, from 1.
///
/// # Safety
/// `table` must be a live table of a Lua state that this thread is in.
unsafe fn is_set(table: *mut c_void, place: u64) -> bool {
    // What is above `i64::MAX` is no key.
    let Ok(key) = i64::try_from(place) else {
        return false;
    };
    // SAFETY: the table is live by this function's own condition; `luaH_getint` only reads, and gives a pointer to a value
    // in the table or to a constant, which is read before anything else happens.
    let tag = unsafe { (*luaH_getint(table, key)).tag };
    tag & TYPE != NIL
}

/// `#t` without `__len`: a border, found by the same steps whatever part of the table its values are in.
///
/// # Safety
/// Lua calls it, with a live table.
#[allow(
    non_snake_case,
    reason = "the linker's name for what takes the place of `luaH_getn`"
)]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_luaH_getn(table: *mut c_void) -> u64 {
    // SAFETY: of a live table, by this function's own condition.
    let is_set = |place| unsafe { is_set(table, place) };
    if !is_set(1) {
        return 0;
    }
    let (mut below, mut above) = (1, 2);
    while is_set(above) {
        below = above;
        above = above.saturating_mul(2);
    }
    // `below` is set and `above` is not: so there is a border between them.
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        if is_set(middle) {
            below = middle;
        } else {
            above = middle;
        }
    }
    below
}

/// # Safety
/// Lua calls it, with a number of its own that it may change.
#[allow(
    non_snake_case,
    reason = "the linker's name for what takes the place of `luaO_tostring`"
)]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_luaO_tostring(state: *mut lua_State, value: *mut TaggedValue) {
    // SAFETY: Lua gives a value of its stack, which nothing else refers to while this runs.
    let number = unsafe { &mut *value };
    if number.tag == FLOAT && f64::from_bits(number.value).is_nan() {
        number.value = f64::NAN.to_bits();
    }
    // SAFETY: the same arguments that Lua gave for it.
    unsafe { __real_luaO_tostring(state, value) };
}

/// The seed of a recipe's state. Any would do: one who knows it can make texts that collide, and waste processor time, as a
/// recipe can in other ways too.
const SEED: c_uint = 0x686f_7374;

thread_local! {
    /// Whether the next state gets it.
    static GIVES_SEED: Cell<bool> = const { Cell::new(false) };
}

/// Makes a state whose hash tables are as in every other run. Not for scripts, which read texts that others wrote.
pub(crate) fn seeded<T>(make: impl FnOnce() -> T) -> T {
    GIVES_SEED.set(true);
    make()
}

/// # Safety
/// Lua calls it, with so many bytes.
#[allow(
    non_snake_case,
    reason = "the linker's name for what takes the place of `luaS_hash`"
)]
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_luaS_hash(bytes: *const c_char, length: usize, seed: c_uint) -> c_uint {
    // The first call of a new state makes its seed; all others are for texts. GNU's linker replaces none of those, which are
    // in the file of the function itself, and LLVM's does.
    if GIVES_SEED.replace(false) {
        return SEED;
    }
    // SAFETY: the same arguments that Lua gave for it.
    unsafe { __real_luaS_hash(bytes, length, seed) }
}

/// Functions of one number.
macro_rules! of_one {
    ($($wrap:ident = $name:ident),+ $(,)?) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $wrap(x: f64) -> f64 {
            libm::$name(x)
        }
    )+};
}

of_one! {
    __wrap_exp = exp,
    __wrap_log = log,
    __wrap_log2 = log2,
    __wrap_log10 = log10,
    __wrap_sin = sin,
    __wrap_cos = cos,
    __wrap_tan = tan,
    __wrap_asin = asin,
    __wrap_acos = acos,
}

#[unsafe(no_mangle)]
extern "C" fn __wrap_pow(x: f64, y: f64) -> f64 {
    libm::pow(x, y)
}

#[unsafe(no_mangle)]
extern "C" fn __wrap_atan2(y: f64, x: f64) -> f64 {
    libm::atan2(y, x)
}

#[cfg(test)]
mod tests {
    use mlua::Lua;

    /// Every function that the linker is told to replace is one of Lua's, and is replaced.
    #[test]
    fn what_is_replaced_is_what_lua_calls() {
        let lua = Lua::new();
        let number = |text: &str| lua.load(text).eval::<f64>().unwrap().to_bits();
        for (text, exact) in [
            ("return 1.1 ^ 0.3", libm::pow(1.1, 0.3)),
            ("return math.exp(0.7)", libm::exp(0.7)),
            ("return math.log(0.7)", libm::log(0.7)),
            ("return math.log(0.7, 2)", libm::log2(0.7)),
            ("return math.log(0.7, 10)", libm::log10(0.7)),
            ("return math.sin(0.7)", libm::sin(0.7)),
            ("return math.cos(0.7)", libm::cos(0.7)),
            ("return math.tan(0.7)", libm::tan(0.7)),
            ("return math.asin(0.7)", libm::asin(0.7)),
            ("return math.acos(0.7)", libm::acos(0.7)),
            ("return math.atan(0.7, 0.2)", libm::atan2(0.7, 0.2)),
        ] {
            assert_eq!(number(text), exact.to_bits(), "{text}");
        }
    }

    /// Tables that hold the same, made so that one has its values in its array part and one in its hash part.
    #[test]
    fn the_length_of_a_table_with_holes_depends_on_what_it_holds() {
        let lua = Lua::new();
        let length = |text: &str| lua.load(text).eval::<i64>().unwrap();
        assert_eq!(length("return #{ 1, 2, nil, 4 }"), 4);
        assert_eq!(length("local t = {} t[4] = 4 t[2] = 2 t[1] = 1 return #t"), 4);
        assert_eq!(length("local t = { 1, 2 } t.a = 1 t.b = 2 t[4] = 4 return #t"), 4);
        for whole in [0, 1, 2, 3, 4, 7, 8, 9, 1000, 1023, 1024, 1025] {
            let text = format!("local t = {{}} for i = 1, {whole} do t[i] = i end return #t");
            assert_eq!(length(&text), whole);
            let text = format!("local t = {{}} for i = {whole}, 1, -1 do t[i] = i end return #t");
            assert_eq!(length(&text), whole);
        }
        assert_eq!(length("return #{ nil, 2 }"), 0);
        assert_eq!(length("return #{ [math.maxinteger] = 1 }"), 0);
    }

    /// Texts as keys, half of them removed and others put in their place: when the table grows depends on collisions.
    #[test]
    fn a_table_takes_as_much_memory_in_every_state() {
        let used = |lua: Lua| {
            lua.load(
                "kept = {} local seed = 1 for i = 1, 3000 do kept['k' .. i] = i
                 if i % 2 == 0 then kept['k' .. i // 2] = nil end end collectgarbage() collectgarbage()",
            )
            .exec()
            .unwrap();
            lua.used_memory()
        };
        let first = used(super::seeded(Lua::new));
        for _ in 0..20 {
            assert_eq!(used(super::seeded(Lua::new)), first);
        }
        // Otherwise it is of no use.
        let order = |lua: Lua| {
            let text = "local t, all = {}, {} for i = 1, 64 do t['k' .. i] = i end for k in next, t do all[#all + 1] = k end \
                        return table.concat(all, ' ')";
            lua.load(text).eval::<String>().unwrap()
        };
        assert_eq!(order(super::seeded(Lua::new)), order(super::seeded(Lua::new)));
        let others = (0..8).filter(|_| order(Lua::new()) != order(super::seeded(Lua::new)));
        assert!(others.count() > 0, "a script's state has the seed of a recipe's");
    }

    #[test]
    fn what_is_no_number_has_no_sign() {
        let lua = Lua::new();
        let text = |text: &str| lua.load(text).eval::<String>().unwrap();
        assert_eq!(text("return (0/0) .. '' .. -(0/0)"), "nannan");
        assert_eq!(text("return table.concat { 0/0, -(0/0), -0.0 }"), "nannan-0.0");
    }
}
