BEGIN TRANSACTION;
CREATE TABLE accounts (
	id VARCHAR(32) NOT NULL, 
	username VARCHAR(128) NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	password_hash TEXT NOT NULL, 
	queues TEXT NOT NULL, 
	tenants TEXT NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (username)
);
INSERT INTO "accounts" VALUES('2fa717d38ff4471d8983eb2ce6b4273e','anna','Anna','agent','hash','["sales"]','["acme"]','2026-11-22T21:38:57.954068Z');
CREATE TABLE engagements (
	id VARCHAR(64) NOT NULL, 
	call VARCHAR(256) NOT NULL, 
	agent VARCHAR(64) NOT NULL, 
	agent_name VARCHAR(256) NOT NULL, 
	mode VARCHAR(16) NOT NULL, 
	since VARCHAR(32) NOT NULL, 
	ended_at VARCHAR(32), 
	ended VARCHAR(64), 
	note TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "engagements" VALUES('e1','lab~1700000000.1','2fa717d38ff4471d8983eb2ce6b4273e','Anna','takeover','2026-01-02T00:00:00.000000Z','2026-11-22T21:38:57.964634Z','released','a note','sold');
CREATE TABLE escalations (
	call VARCHAR(256) NOT NULL, 
	reason TEXT NOT NULL, 
	priority VARCHAR(16) NOT NULL, 
	"by" VARCHAR(256) NOT NULL, 
	since VARCHAR(32) NOT NULL, 
	raised_at VARCHAR(32) NOT NULL, 
	deadline VARCHAR(32), 
	step INTEGER NOT NULL, 
	escalated_at VARCHAR(32), 
	supervisors BOOLEAN NOT NULL, 
	PRIMARY KEY (call)
);
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema','1');
CREATE TABLE sessions (
	id_hash VARCHAR(128) NOT NULL, 
	account VARCHAR(32) NOT NULL, 
	expires VARCHAR(32) NOT NULL, 
	PRIMARY KEY (id_hash), 
	FOREIGN KEY(account) REFERENCES accounts (id) ON DELETE CASCADE
);
INSERT INTO "sessions" VALUES('session-hash','2fa717d38ff4471d8983eb2ce6b4273e','2099-01-01T00:00:00.000000Z');
CREATE TABLE tokens (
	id VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	ai VARCHAR(128) NOT NULL, 
	hash VARCHAR(128) NOT NULL, 
	created_at VARCHAR(32) NOT NULL, 
	revoked_at VARCHAR(32), 
	PRIMARY KEY (id), 
	UNIQUE (name), 
	UNIQUE (hash)
);
INSERT INTO "tokens" VALUES('08c57eb7eb9e4dc39490e58dacdc4b2a','my-platform','ai','bot','token-hash','2026-11-22T21:38:57.961233Z',NULL);
INSERT INTO "tokens" VALUES('a2d750ed277c47968cb65454df11fcd9','old','supervisor','','old-hash','2026-11-22T21:38:57.962612Z','2026-11-22T21:38:57.963467Z');
CREATE TABLE transcripts (
	call VARCHAR(256) NOT NULL, 
	turn VARCHAR(128) NOT NULL, 
	speaker VARCHAR(16) NOT NULL, 
	text TEXT NOT NULL, 
	at VARCHAR(32) NOT NULL, 
	final BOOLEAN NOT NULL, 
	PRIMARY KEY (call, turn)
);
INSERT INTO "transcripts" VALUES('lab~1700000000.1','1','caller','Hello','2026-01-02T00:00:00.000000Z',1);
CREATE INDEX ix_engagements_agent ON engagements (agent);
CREATE INDEX ix_engagements_call ON engagements (call);
CREATE INDEX ix_sessions_account ON sessions (account);
COMMIT;
