"use strict";
// Products of matrices with vectors, in WebAssembly where the browser has it, else in plain JavaScript: to the same
// last bit, so that a seed gives the same text everywhere. matvec.wat says how a matrix is stored.

const BLOCK = 32; // rows
const PAGE_BYTES = 65536; // of WebAssembly's memory
const roundUp = (size, multiple) => Math.ceil(size / multiple) * multiple;

/** The memory of all matrices and vectors of a network, and the product. Addresses count float32 numbers. */
class Products {
  /** size: numbers that `take` gives out, in all. wasm: bytes of matvec.wasm; null: plain JavaScript. */
  constructor(size, wasm) {
    this.used = 0;
    this.isFast = false;
    const pages = Math.ceil((size * 4) / PAGE_BYTES) + 1;
    if (wasm !== null) {
      try {
        const memory = new WebAssembly.Memory({ initial: pages });
        const instance = new WebAssembly.Instance(new WebAssembly.Module(wasm), { "": { memory } });
        this.numbers = new Float32Array(memory.buffer);
        const { multiply } = instance.exports;
        this.multiply = (matrix, vector, columns, result, blocks) =>
          multiply(matrix * 4, vector * 4, (vector + columns) * 4, result * 4, blocks);
        this.isFast = true;
        return;
      } catch (error) {
        // No WebAssembly, no vector instructions, or a policy that forbids them.
      }
    }
    this.numbers = new Float32Array((pages * PAGE_BYTES) / 4);
    this.multiply = (matrix, vector, columns, result, blocks) =>
      multiplyPlainly(this.numbers, matrix, vector, columns, result, blocks);
  }

  /** The address of so many numbers, all 0. */
  take(size) {
    const address = this.used;
    this.used += roundUp(size, BLOCK);
    return address;
  }

  /** A new vector of zeros, as a view; its address is byteOffset / 4. */
  vector(size) {
    const address = this.take(size);
    return this.numbers.subarray(address, address + size);
  }
}

/** The twin of matvec.wasm. */
function multiplyPlainly(numbers, matrix, vector, columns, result, blocks) {
  const sums = new Float32Array(BLOCK);
  for (let block = 0; block < blocks; block++, result += BLOCK) {
    sums.fill(0);
    for (let column = 0; column < columns; column++, matrix += BLOCK) {
      const number = numbers[vector + column];
      for (let row = 0; row < BLOCK; row++) sums[row] += Math.fround(number * numbers[matrix + row]);
    }
    numbers.set(sums, result);
  }
}

/** A matrix, and the vector that its products are left in. */
class Matrix {
  /** values: (rows, columns), row by row. */
  constructor(products, values, rows, columns) {
    this.products = products;
    this.columns = columns;
    this.blocks = Math.ceil(rows / BLOCK);
    this.address = products.take(this.blocks * BLOCK * columns);
    this.result = products.vector(rows);
    const { numbers } = products;
    for (let row = 0; row < rows; row++) {
      let place = this.address + Math.floor(row / BLOCK) * columns * BLOCK + (row % BLOCK);
      for (let column = 0, from = row * columns; column < columns; column++, place += BLOCK) {
        numbers[place] = values[from + column];
      }
    }
  }

  /** How many numbers a matrix takes, with its result. */
  static size(rows, columns) {
    return roundUp(rows, BLOCK) * (columns + 1);
  }

  /** The product with a vector of this memory; the next one overwrites it. */
  times(vector) {
    this.products.multiply(this.address, vector.byteOffset / 4, this.columns, this.result.byteOffset / 4, this.blocks);
    return this.result;
  }
}

