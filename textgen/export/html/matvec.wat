;; The product of a matrix with a vector, in single precision, eight rows' worth of additions in flight.
;;
;; The matrix is cut into blocks of 32 rows. A block is stored column by column: the 32 numbers of column 0, then
;; those of column 1, and so on, so that each step loads one number of the vector and 32 of the matrix. Each row is
;; summed in the order of its columns, with no fused operations: matvec.js gives the same bits without WebAssembly.
(module
  (import "" "memory" (memory 1))
  (func (export "multiply")
    (param $matrix i32)   ;; address of blocks x columns x 32 numbers
    (param $vector i32)   ;; address of the vector
    (param $end i32)      ;; address after its last number; there is at least one
    (param $result i32)   ;; address of the result, 32 numbers for each block
    (param $blocks i32)   ;; at least 1
    (local $x i32) (local $zero v128) (local $number v128)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local $e v128) (local $f v128) (local $g v128) (local $h v128)
    (loop $block
      (local.set $a (local.get $zero)) (local.set $b (local.get $zero))
      (local.set $c (local.get $zero)) (local.set $d (local.get $zero))
      (local.set $e (local.get $zero)) (local.set $f (local.get $zero))
      (local.set $g (local.get $zero)) (local.set $h (local.get $zero))
      (local.set $x (local.get $vector))
      (loop $column
        (local.set $number (v128.load32_splat (local.get $x)))
        (local.set $a (f32x4.add (local.get $a)
          (f32x4.mul (local.get $number) (v128.load (local.get $matrix)))))
        (local.set $b (f32x4.add (local.get $b)
          (f32x4.mul (local.get $number) (v128.load offset=16 (local.get $matrix)))))
        (local.set $c (f32x4.add (local.get $c)
          (f32x4.mul (local.get $number) (v128.load offset=32 (local.get $matrix)))))
        (local.set $d (f32x4.add (local.get $d)
          (f32x4.mul (local.get $number) (v128.load offset=48 (local.get $matrix)))))
        (local.set $e (f32x4.add (local.get $e)
          (f32x4.mul (local.get $number) (v128.load offset=64 (local.get $matrix)))))
        (local.set $f (f32x4.add (local.get $f)
          (f32x4.mul (local.get $number) (v128.load offset=80 (local.get $matrix)))))
        (local.set $g (f32x4.add (local.get $g)
          (f32x4.mul (local.get $number) (v128.load offset=96 (local.get $matrix)))))
        (local.set $h (f32x4.add (local.get $h)
          (f32x4.mul (local.get $number) (v128.load offset=112 (local.get $matrix)))))
        (local.set $matrix (i32.add (local.get $matrix) (i32.const 128)))
        (br_if $column (i32.lt_u (local.tee $x (i32.add (local.get $x) (i32.const 4))) (local.get $end))))
      (v128.store (local.get $result) (local.get $a))
      (v128.store offset=16 (local.get $result) (local.get $b))
      (v128.store offset=32 (local.get $result) (local.get $c))
      (v128.store offset=48 (local.get $result) (local.get $d))
      (v128.store offset=64 (local.get $result) (local.get $e))
      (v128.store offset=80 (local.get $result) (local.get $f))
      (v128.store offset=96 (local.get $result) (local.get $g))
      (v128.store offset=112 (local.get $result) (local.get $h))
      (local.set $result (i32.add (local.get $result) (i32.const 128)))
      (br_if $block (local.tee $blocks (i32.sub (local.get $blocks) (i32.const 1)))))))
