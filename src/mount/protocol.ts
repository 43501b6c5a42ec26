/**
 * The numbers of the FUSE kernel protocol, as far as a mount uses them. Source: include/uapi/linux/fuse.h (Linux 6.18,
 * protocol 7.45; spoken from 7.31 on, passthrough from 7.40 on).
 */

export const opcodes = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  IOCTL: 39,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  COPY_FILE_RANGE: 47,
  TMPFILE: 51,
} as const;

export const errnos = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  ENOTTY: 25,
  EROFS: 30,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENODATA: 61,
  EPROTO: 71,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ESTALE: 116,
  ENODEV: 19,
} as const;

export const sizes = {
  inHeader: 40,
  outHeader: 16,
  attr: 88,
  entryOut: 128,
  attrOut: 104,
  openOut: 16,
  statfsOut: 80,
  initOut: 64,
  xattrOut: 8,
  direntHead: 24,
} as const;

/** Flags of INIT: the first 32 bits, and those above them (`2`). */
export const initFlags = {
  ASYNC_READ: 1 << 0,
  BIG_WRITES: 1 << 5,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  EXPLICIT_INVAL_DATA: 1 << 25,
  INIT_EXT: 1 << 30,
} as const;

export const initFlags2 = {
  HAS_EXPIRE_ONLY: 1 << 3, // bit 35
  PASSTHROUGH: 1 << 5, // bit 37
  REQUEST_TIMEOUT: 1 << 10, // bit 42
} as const;

/** Flags of an answer to OPEN. */
export const openFlags = { KEEP_CACHE: 1 << 1, NOFLUSH: 1 << 5, PASSTHROUGH: 1 << 7 } as const;

/** Codes of what is told to the kernel unasked. */
export const notices = { INVAL_INODE: 2, INVAL_ENTRY: 3, EXPIRE_ONLY: 1 } as const;

export const ROOT_ID = 1;
export const FILE_TYPE = 0o100000;
export const FOLDER_TYPE = 0o040000;
/** What a name of a folder says of its type: the type's bits, shifted. */
export const DIRENT_FILE = 8;
export const DIRENT_FOLDER = 4;

/** The least that a kernel must speak: its READDIRPLUS, parallel folders and MAX_PAGES are what is relied on. */
export const PROTOCOL_MINOR_MIN = 31;
export const PROTOCOL_MINOR = 45;
export const PASSTHROUGH_MINOR_MIN = 40;
