/**
 * Every bound of the product, in one place, with the relations between them asserted at load. A queue, a buffer,
 * a retry or a cache that has no name here is a bug.
 */
import { assert } from "./assert.ts";

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

export const limits = {
  // HTTP, front and back. The lake takes header blocks of tens of KiB (SAS, metadata: 8 KiB of names and values).
  httpHeadBytesMax: 64 * KIB,
  httpHeaderCountMax: 512,
  httpChunkLineBytesMax: 4 * KIB,
  httpTrailerBytesMax: 16 * KIB,
  httpPipelinedRequestsMax: 16, // answered in one turn of the event loop
  /** What is read away of a request body that its handler left, to keep the connection. */
  httpDrainBytesMax: 256 * KIB,
  /** After a response that ends the connection, input is read away so long and so much, lest it reset the response. */
  httpLingerMs: 5_000,
  httpLingerBytesMax: 64 * MIB,
  connectionsMax: 4096,
  requestsInFlightMax: 4096,
  /** What one connection may hold of a request or response body in memory. */
  connectionBufferBytesMax: 1 * MIB,
  headTimeoutMs: 30_000, // from the first byte of a head to its end
  idleTimeoutMs: 120_000, // between two requests of a kept-alive connection
  stallTimeoutMs: 60_000, // no byte moved in a body, either way
  gracefulStopMs: 20_000,

  // Towards the lake.
  lakeConnectTimeoutMs: 10_000,
  lakeFirstByteTimeoutMs: 60_000,
  lakeCheckTimeoutMs: 10_000, // the first byte of the answer to a check of what flash holds
  lakeAwayMs: 5_000, // how long a lake that could not be reached is not asked for what can be answered without it
  lakeReadOutBytesMax: 4 * KIB, // an unwanted answer this small is read out, which keeps its connection
  lakeConnectionsMax: 256, // per server process and lake
  lakeIdleConnectionMs: 4_000,
  lakeRequestsWaitingMax: 4_096, // requests that wait for a connection
  lakeConnectionWaitMs: 30_000, // how long each of them waits
  lakeFillAttemptsMax: 4,
  lakeFillBusyAttemptsMax: 10, // the same while the lake refuses for its load
  lakeFillConnectionsStart: 16, // fills under way per server process and account, at first
  lakeFillConnectionsMax: 32, // the same where more of them bring more
  lakeUrgentFillsMax: 64, // the same with those that an open body stands waiting for
  lakeRetryPauseMsMax: 5_000,
  lakeProbeTimeoutMs: 10_000,
  lakeSmallBodyBytesMax: 1 * MIB, // of an answer that is read whole: stored policies, a page of a list
  entraRefreshAheadMs: 5 * 60_000, // a token this near its end is renewed while it still serves
  entraTimeoutMs: 30_000,
  entraFailurePauseMs: 5_000, // how long a failure to get a token answers for the next caller

  // Flash.
  flashBytesMin: 8 * MIB, // the least that a configuration may give
  blockBytes: 1 * MIB,
  fillRunBlocksMax: 8, // contiguous blocks that one ranged read brings
  fillBuffersMax: 80, // of blockBytes each, for all fills of a server process
  fillBufferShare: 4, // an account may hold so many times as many of them as are free
  fillBufferWaitMs: 10_000, // how long a fill waits for one; then the bytes come without it
  fillBuffersEachMax: 2, // one being received while the other is being written
  readAheadBytesMax: 128 * MIB, // before a reader that is likely to come
  followAheadBytesMax: 256 * MIB, // before a body under way: half of it keeps `lakeFillConnectionsStart` full runs going
  blobFileBytesMax: 16 * 1024 * GIB,
  hotEntriesMax: 131_072, // looked-up versions kept by a server, 1.5 to 3 KiB each
  openFilesMax: 4_096, // descriptors kept by a server for reading
  openFilesPlentyMax: 65_536, // the same where the process may have so many
  descriptorsSpare: 2_048, // of a process, for all else than connections and files kept for reading
  commitIntervalMs: 200, // how long filled blocks wait for their flush
  commitBlocksMax: 4_096,
  leaseWaitMsMax: 30_000,
  scrubPeriodMs: 14 * 24 * 3_600_000,
  leaseTtlMs: 300_000, // a lease whose holder lives but never ends it
  claimTtlMs: 600_000, // the same of a claim: longer than any fill takes that still moves
  leaseWaitersMax: 16_384,
  variantsMax: 8, // forms of the lake's answer kept with a version
  flashReserveBytesMin: 64 * MIB, // never filled: a full file system fails everybody on it
  fileIdsReserved: 65_536, // ids taken durably at a time
  probeIntervalMs: 5_000, // between two checks that the flash can be written
  releaseWaitMsMax: 5_000, // how long unlinked files count as taken while a server holds them
  evictStepVersionsMax: 256,
  sieveStepEntriesMax: 8_192, // entries that the hand passes before others get their turn
  scrubStepBlocksMax: 8,
  stagedFilesPerHolderMax: 16_384, // files that a server is writing clients' bytes to
  // Blocks that passed to the lake, kept until their list does.
  warmBlockTtlMs: 3_600_000,
  warmBlocksMax: 65_536,
  warmBlobsMax: 16_384,
  warmBytesShare: 0.25, // of the flash, at most
  warmSendingsMax: 16_384, // blocks and lists on their way
  warmCommitWaitMs: 10_000, // how long a list waits for its blocks' bytes to be on flash
  warmBeginWaitMs: 250, // how long a block or list waits for the keeper before it passes unremembered
  warmBehindBytesMax: 8 * MIB, // by which flash may be slower than the lake, for one body
  warmBuffersMax: 64, // of 1 MiB each, for all bodies of a server process
  warmListsBytesMax: 32 * MIB, // lists of blocks that a process holds at a time
  bodyFilesPinnedMax: 16, // of a version of several files, what one body holds open at a time

  // The journal of what the lake does not have yet.
  journalSegmentBytes: 32 * MIB, // of one file
  journalReserveBytes: 4 * MIB, // of a file, kept for records that free room when the disk is full
  journalBatchBytesMax: 8 * MIB, // records that one flush makes durable
  journalRecordBytesMax: 6 * MIB,
  journalInlineBytesMax: 64 * KIB, // a blob this small stands in the journal itself
  journalHeaderBytesMax: 64 * KIB, // headers and metadata of one put
  journalEntriesMax: 131_072,
  journalInlineTotalBytesMax: 1 * GIB,
  journalSpansMax: 1_000_000, // of all entries and staged blocks, about 250 bytes of memory each
  stagedBlocksPerBlobMax: 50_000, // the lake's own bound of a committed list
  stagedBlocksMax: 400_000,
  journalQueueMax: 65_536, // appends that wait for their flush
  fenceTtlMs: 60_000, // a fence falls after so long at the latest: what it guarded may then meet a later write as a conflict
  stagedBlockLookMs: 3_600_000,
  fenceWaitMs: 30_000, // how long a request waits for what is pending in its way
  fenceGraceMs: 5_000, // how long a fence stands when the server that wanted it is gone
  fencePassMs: 25_000, // how long a write waits for a fence: its server waits for the keeper's answer longer
  fencedWritesMax: 4_096, // writes that wait for a fence
  deskInlineBytesMax: 32 * MIB, // of small pending blobs, kept in memory too
  pendingKnownMax: 4_096, // pending versions that a server remembers
  pendingLongKnownMax: 32, // the same of those with more than `pendingSpansFewMax` spans
  pendingSpansFewMax: 64,
  pendingInlineMax: 256, // of journalInlineBytesMax each: bytes of small pending blobs, kept by a server
  pendingPinsMax: 64, // files of one pending version that a body holds open
  pendingAttemptsMax: 4, // how often a read begins anew because what it found pending has ended
  deskWaitMs: 3_000, // how long a read waits for a keeper that is being started again
  deskRetryMs: 50,
  owedKnownWaitMs: 2_000, // how long a request waits for the journal to be read after a start
  aliasesMax: 65_536, // about 300 bytes each, in memory and in their file
  aliasTtlMs: 7 * 24 * 3_600_000,
  aliasFileBytesMax: 64 * MIB,
  aliasesKnownMax: 16_384, // of those that a server remembers
  stagedBlockTtlMs: 7 * 24 * 3_600_000, // as the lake forgets blocks that were never committed
  journalMarkDelayMs: 1_000, // after the last flush: says durably that it ended well
  drainRateBytesMin: 64 * KIB, // per second: the least that a configuration may give
  drainUploadsMax: 32, // bodies on their way to the lake, of all accounts
  drainUploadsStart: 8, // of one account, at first
  drainUploadShare: 4, // an account may have so many times as many as are free
  drainBufferBytes: 4 * MIB, // of memory for each of them; a blob this small goes in one piece
  drainBlockBytesMax: 4_000 * MIB, // the lake's own bound of a block
  drainBlockAttemptsMax: 4, // of one block, before its entry pauses
  drainBlockListBytesMax: 16 * MIB, // of the lake's list of a blob's blocks
  drainAheadEntriesMax: 32, // of a path, whose blocks go before their turn
  drainAheadBytesMax: 8 * GIB,
  drainPauseMsMin: 500, // between two attempts
  drainPauseMsMax: 60_000,
  drainHurryMsMax: 1_000, // the same while somebody waits for a flush
  drainRefusedMsMax: 10 * 60_000, // how long a credential that the lake refuses is tried again
  drainDamageAttemptsMax: 3, // how often bytes are read that do not verify
  drainClockMarginMs: 2_000, // between the clock here and the lake's
  pendingNamesMax: 10_000, // in the list of pending names that the lake keeps
  pendingNamesMs: 10_000, // how old a write is that it names, and how often it is written
  drainStopMs: 30_000, // how long a graceful stop goes on carrying what is pending

  // Taking writes in at a server.
  uploadBuffersMax: 64, // of blockBytes each, for all bodies on their way to a file: two for each at most
  uploadHoldMs: 1_000, // after so long a piece whose client has nothing to send waits in its file, and holds no memory
  writesHeldBytesMax: 128 * MIB, // of small blobs and lists of blocks, read whole
  blockListBytesMax: 8 * MIB, // of a list of blocks: 50,000 of them, written as clients do, are less
  writeBaseWaitMs: 3_000, // how long the lake is waited for to say what it holds under a name that is written
  writeAttemptsMax: 8, // how often a write is judged anew because something else came in between

  // Lists of blobs, merged with what is pending.
  listPageMax: 5_000, // names of one page: the lake's own bound
  listPageBytesMax: 32 * MIB, // of one page of the lake
  listHeldBytesMax: 128 * MIB, // of the pages that a process holds at a time
  listNamesMax: 256, // pending names that are asked for at a time
  listGoneMax: 5_000, // pending deletions below one prefix that are compared with what the lake has there
  listHollowLooksMax: 16, // prefixes of one page that are looked below
  listHollowPagesMax: 3, // pages that one such look reads
  listFetchesMax: 8, // pages of the lake that one merged page is made of

  // Verdicts and freshness.
  verdictTtlMs: 60_000,
  verdictsMax: 100_000,
  storedPolicyTtlMs: 60_000,
  clockSkewMs: 15 * 60_000, // SharedKey date: the lake refuses beyond 15 minutes
  changeMarkTtlMs: 15 * 60_000,

  /** Header texts that the index keeps once for all blobs. */
  indexTextsMax: 100_000,
  indexTextsLengthMax: 16 * MIB, // of all of them together
  indexTextsRememberedMax: 8 * MIB, // of those that a process keeps in memory
  /** Targets of reads that a server remembers what they say of, and how long such a target may be. */
  placesMax: 8_192,
  placeTargetLengthMax: 1_024,

  // Between the processes.
  channelFrameBytesMax: 16 * MIB,
  channelCallsMax: 65_536,
  channelDrainMs: 1_000, // how long the end of a channel waits for the other side to take what it was told
  keeperReplyTimeoutMs: 35_000,
  keeperPostsMax: 16_384, // what is said to a keeper while it hangs, for when it wakes
  keeperPulseMs: 2_000, // a call that waits so long is followed by a question whether the keeper lives
  keeperPulseTimeoutMs: 4_000, // how long that question waits, the second one with it
  keeperPulseAgainMs: 1_000, // how long the second one does
  peekTimeoutMs: 250, // for what only says how an answer is called
  peekBlocksMax: 4_096,
  /** How often the end of a change to an immutable path is told a keeper that is not there, and how far apart. */
  markEndAttemptsMax: 12,
  markEndPauseMs: 250,

  // The admin endpoint.
  adminBodyBytesMax: 64 * KIB,
  adminEntriesMax: 10_000, // of the journal in one answer
  adminAttentionMax: 20, // entries that wait for an operator, shown with the status
  adminFlushMsMax: 24 * 3_600_000,
  adminFlushTellMs: 1_000, // between two words about how far a flush is

  // Batch bodies are rewritten in memory when URL styles differ: the lake's own limit is 4 MiB.
  batchBodyBytesMax: 4 * MIB + 64 * KIB,
  batchPartsMax: 256,
  batchHeldBytesMax: 64 * MIB, // bytes of all batches that a process holds at a time
  batchReadTimeoutMs: 60_000, // from the head of a batch to the end of its body
} as const;

assert(limits.httpChunkLineBytesMax <= limits.httpHeadBytesMax, "a chunk line is no larger than a head");
assert(limits.httpDrainBytesMax <= limits.httpLingerBytesMax, "lingering reads away at least what draining does");
assert(limits.keeperPulseAgainMs < limits.keeperPulseTimeoutMs, "the keeper is asked twice whether it lives");
assert(limits.keeperPulseMs + limits.keeperPulseTimeoutMs < limits.keeperReplyTimeoutMs, "a hang is noticed earlier");
assert(limits.fillRunBlocksMax * limits.blockBytes <= limits.readAheadBytesMax, "a fill run fits the read-ahead");
assert(
  limits.fillRunBlocksMax * limits.blockBytes * limits.lakeFillConnectionsStart * 2 <= limits.followAheadBytesMax,
  "what a body asks for ahead keeps the connections busy",
);
assert(
  limits.lakeUrgentFillsMax <= (limits.fillBuffersMax * limits.fillBufferShare) / (limits.fillBufferShare + 1),
  "every read of the lake that a gate lets in finds a buffer, and some are left for other accounts",
);
assert(limits.keeperReplyTimeoutMs > limits.leaseWaitMsMax, "the keeper answers a waiting lease before its time-out");
assert(limits.lakeFillConnectionsMax < limits.lakeUrgentFillsMax, "who waits gets past what was asked for ahead");
assert(limits.lakeUrgentFillsMax <= limits.lakeConnectionsMax, "fills fit in the connections to the lake");
assert(limits.lakeCheckTimeoutMs < limits.leaseWaitMsMax, "who waits for a check hears of its time-out");
assert(limits.leaseTtlMs > limits.leaseWaitMsMax, "a lease outlives those who wait for it");
assert(limits.verdictTtlMs <= 60_000, "a remembered yes lapses within 60 s (semantics: who may read)");
assert(limits.listPageBytesMax <= limits.listHeldBytesMax, "a page of a list fits in what all lists may hold");
assert(limits.batchBodyBytesMax <= limits.batchHeldBytesMax, "a batch fits in what all batches may hold");
assert(limits.journalRecordBytesMax < limits.journalBatchBytesMax, "a record fits a batch");
assert(limits.journalBatchBytesMax * 2 <= limits.journalSegmentBytes, "a batch fits a file of the journal");
assert(limits.journalReserveBytes * 2 <= limits.journalSegmentBytes, "the journal's reserve is part of a file");
// 36 bytes of a span and its block id, base64 of at most 64 bytes.
assert(limits.stagedBlocksPerBlobMax * 124 <= limits.journalRecordBytesMax, "a list of blocks fits a record");
assert(limits.stagedBlocksPerBlobMax * 127 <= limits.blockListBytesMax, "a list of blocks is taken in");
assert(limits.uploadHoldMs < limits.fillBufferWaitMs, "who waits for memory outlasts a slow client's hold on it");
assert(limits.writeBaseWaitMs < limits.lakeCheckTimeoutMs, "a write waits less for the lake than a read");
assert(limits.blockListBytesMax * 2 <= limits.writesHeldBytesMax, "lists of blocks fit in what is held");
assert(limits.stagedBlocksMax <= limits.journalSpansMax, "a staged block is a span");
assert(limits.drainUploadsStart <= limits.drainUploadsMax, "uploads begin with no more than there may be");
assert(limits.drainHurryMsMax <= limits.drainPauseMsMax, "who waits for a flush waits no longer");
