/** The blocks that clients staged and did not commit yet, by blob. */
import type { FileUses, Home, Homes } from "./holdings.ts";
import type { BlobName, StagedBlock } from "./types.ts";

/** A blob's name as a key: account and container have no slash. */
export function blobKey(name: BlobName): string {
  return `${name.account}/${name.container}/${name.blob}`;
}

/** What a record that holds the block is called. A block id is base64 and has no NUL. */
export function blockHomeKey(name: BlobName, blockId: string): string {
  return `block\u0000${blockId}\u0000${blobKey(name)}`;
}

export interface Staged {
  put(block: StagedBlock, home: Home): void;
  /** The block was written again elsewhere. */
  moveHome(block: StagedBlock, home: Home): void;
  /** Forgets all blocks of a blob. */
  drop(name: BlobName): void;
  of(name: BlobName): readonly StagedBlock[];
  get(name: BlobName, blockId: string): StagedBlock | null;
  countOf(name: BlobName): number;
  blobs(): Iterable<BlobName>;
  readonly count: number;
  readonly bytes: number;
}

/** `freed` is told the files that nobody needs any more. */
export function createStaged(homes: Homes, uses: FileUses, freed: (fileIds: number[]) => void): Staged {
  const blobs = new Map<string, { readonly name: BlobName; readonly blocks: Map<string, StagedBlock> }>();
  let [count, bytes] = [0, 0];
  const of = (name: BlobName): ReadonlyMap<string, StagedBlock> | undefined => blobs.get(blobKey(name))?.blocks;
  return {
    put: (block, home) => {
      const key = blobKey(block.name);
      const blob = blobs.get(key) ?? { name: block.name, blocks: new Map<string, StagedBlock>() };
      blobs.set(key, blob);
      const old = blob.blocks.get(block.blockId);
      blob.blocks.set(block.blockId, block);
      homes.set(blockHomeKey(block.name, block.blockId), home);
      uses.hold([block.span.fileId]);
      count++;
      bytes += block.span.length;
      if (old === undefined) return;
      count--;
      bytes -= old.span.length;
      freed(uses.release([old.span.fileId]));
    },
    moveHome: (block, home) => homes.set(blockHomeKey(block.name, block.blockId), home),
    drop: (name) => {
      const blocks = of(name);
      if (blocks === undefined) return;
      blobs.delete(blobKey(name));
      const released: number[] = [];
      for (const block of blocks.values()) {
        homes.delete(blockHomeKey(name, block.blockId));
        bytes -= block.span.length;
        count--;
        released.push(...uses.release([block.span.fileId]));
      }
      freed(released);
    },
    of: (name) => [...(of(name)?.values() ?? [])],
    get: (name, blockId) => of(name)?.get(blockId) ?? null,
    countOf: (name) => of(name)?.size ?? 0,
    blobs: () => [...blobs.values()].map(({ name }) => name),
    get count() {
      return count;
    },
    get bytes() {
      return bytes;
    },
  };
}
