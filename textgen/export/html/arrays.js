// The arrays of the page: base64 of float16, float32, int8 with a scale for each row, or uint32; little-endian.

/** The bytes of a base64 text. */
function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Numbers of a typed array's class from bytes. */
function numbersOf(Kind, base64) {
  const { buffer } = bytesOf(base64);
  return new Kind(buffer);
}

let halves = null; // every float16 as a float32, once it is needed

function tableOfHalves() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 32768; bits++) {
    const exponent = bits >> 10;
    const fraction = bits & 1023;
    const size = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
    table[bits] = exponent === 31 ? NaN : size;
    table[bits + 32768] = -table[bits];
  }
  return table;
}

/** An array of the network as float32, row by row. */
function floatsOf({ type, data, scale, shape }) {
  if (type === "float32") return numbersOf(Float32Array, data);
  if (type === "float16") {
    halves ??= tableOfHalves();
    return Float32Array.from(numbersOf(Uint16Array, data), (bits) => halves[bits]);
  }
  const scales = numbersOf(Float32Array, scale);
  const columns = shape[1];
  const wide = Float32Array.from(numbersOf(Int8Array, data));
  for (let row = 0, place = 0; row < shape[0]; row++) {
    for (let column = 0; column < columns; column++) wide[place++] *= scales[row];
  }
  return wide;
}

