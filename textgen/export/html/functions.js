// Functions that browsers compute differently, or not reproducibly: from additions, products and quotients alone,
// which are the same everywhere.

const LN2_HIGH = 6.93147180369123816490e-1; // with zeros at the end, so that its small multiples are exact
const LN2_LOW = 1.90821492927058770002e-10;
const exponentOf = new Uint32Array(2);
const powerOfTwo = new Float64Array(exponentOf.buffer);
const HIGH = new Uint8Array(new Uint32Array([1]).buffer)[0] ? 1 : 0; // which half has the exponent

/** e to the power of x, by the series and a power of 2; 0 below -700. */
function expBySeries(x) {
  if (!(x > -700)) return x !== x ? x : 0;
  if (x > 700) return Infinity;
  const k = Math.floor(x * 1.4426950408889634 + 0.5);
  const r = x - k * LN2_HIGH - k * LN2_LOW; // at most half of ln 2
  let sum = 1;
  for (let n = 16; n > 0; n--) sum = 1 + (sum * r) / n;
  exponentOf[HIGH] = (k + 1023) << 20;
  exponentOf[1 - HIGH] = 0;
  return sum * powerOfTwo[0];
}

const TABLE_END = 40;
const TABLE = Float64Array.from({ length: 32 * TABLE_END + 1 }, (_, i) => expBySeries(i / 16 - TABLE_END));

/** e to the power of x: from a table in steps of 1/16, and the series for the rest, which is at most 1/32. */
function exp(x) {
  if (!(x > -TABLE_END && x < TABLE_END)) return expBySeries(x);
  const step = Math.floor(x * 16 + 0.5);
  const r = x - step / 16;
  const rest = 1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24 + r * (1 / 120 + r * (1 / 720))))));
  return TABLE[step + 16 * TABLE_END] * rest;
}

/** The natural logarithm of a positive number, by Halley's method on exp. */
function log(x) {
  if (x === 0) return -Infinity;
  powerOfTwo[0] = x;
  const exponent = (exponentOf[HIGH] >>> 20) - 1023;
  exponentOf[HIGH] = (exponentOf[HIGH] & 0xfffff) | (1023 << 20);
  let guess = exponent * Math.LN2 + powerOfTwo[0] - 1; // less than 0.31 too large
  for (let i = 0; i < 4; i++) {
    const found = exp(guess);
    guess += (2 * (x - found)) / (x + found);
  }
  return guess;
}

const sigmoid = (x) => 1 / (1 + exp(-x));
const tanh = (x) => 1 - 2 / (1 + exp(2 * x));

/** Threefry-2x32 with 20 rounds: two random words from a counter of two words and a key of two words.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011. */
function threefry(key0, key1, counter0, counter1) {
  const keys = [key0, key1, key0 ^ key1 ^ 0x1bd11bda];
  const rotations = [13, 15, 26, 6, 17, 29, 16, 24];
  let a = (counter0 + key0) | 0;
  let b = (counter1 + key1) | 0;
  for (let round = 0; round < 20; round++) {
    const by = rotations[round % 8];
    a = (a + b) | 0;
    b = ((b << by) | (b >>> (32 - by))) ^ a;
    if (round % 4 === 3) {
      const injected = (round + 1) / 4;
      a = (a + keys[injected % 3]) | 0;
      b = (b + keys[(injected + 1) % 3] + injected) | 0;
    }
  }
  return [a >>> 0, b >>> 0];
}

/** The key of a seed, which is a whole number of any size: its words, of which those beyond two are hashed in. */
function keyOf(seed) {
  const word = (bits) => Number(BigInt.asUintN(32, bits));
  const all = BigInt(seed);
  let key = [word(all), word(all >> 32n)];
  for (let rest = all >> 64n; rest; rest >>= 64n) key = threefry(...key, word(rest), word(rest >> 32n));
  return key;
}

/** The uniform numbers in [0, 1) of a seed, by their number: each has 53 random bits. */
class Uniforms {
  constructor(seed) {
    this.key = keyOf(seed);
    this.drawn = 0;
  }

  next() {
    const [high, low] = threefry(...this.key, this.drawn >>> 0, Math.floor(this.drawn / 2 ** 32));
    this.drawn++;
    return ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
  }
}

