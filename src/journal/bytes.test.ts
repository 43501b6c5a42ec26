import { expect, test } from "bun:test";
import { ByteReader, ByteWriter } from "./bytes.ts";

test("what is written is read back, wherever the memory for it had to grow", () => {
  for (let before = 480; before <= 530; before++) {
    for (const value of ["u8", "u32", "u64", "hash", "text"] as const) {
      const out = new ByteWriter();
      for (let i = 0; i < before; i++) out.u8(i & 255);
      if (value === "hash") out.hash("0123456789abcdef");
      else if (value === "text") out.text("Größe");
      else out[value](201);
      const input = new ByteReader(out.finish());
      for (let i = 0; i < before; i++) expect(input.u8()).toBe(i & 255);
      expect<number | string>(input[value]()).toBe(
        value === "hash" ? "0123456789abcdef" : value === "text" ? "Größe" : 201,
      );
    }
  }
});
