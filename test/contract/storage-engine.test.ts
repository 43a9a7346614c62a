/** Every engine passes the one contract of storage engines. */
import { engineFactory } from '../../src/storage/engines.js';
import { storageEngineContract } from './storage-engine.js';

storageEngineContract({ factory: engineFactory('memory'), durable: false });
storageEngineContract({ factory: engineFactory('level'), durable: true });
storageEngineContract({ factory: engineFactory('rocksdb'), durable: true });
