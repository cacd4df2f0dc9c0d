/* A PKCS#11 module that passes every call on to SoftHSM, unless the folder of the test holds a file with the name of a
 * fault. It also counts: each login and each decryption adds a byte to a file. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong;
typedef unsigned char byte;

/* CK_FUNCTION_LIST of PKCS#11 2.40. */
struct list {
    byte version[2];
    void *of[68];
};
/* CK_ATTRIBUTE. */
struct attribute {
    ulong type;
    void *value;
    ulong length;
};
enum {
    GET_TOKEN_INFO = 6,
    OPEN_SESSION = 12,
    LOGIN = 18,
    GET_ATTRIBUTE_VALUE = 24,
    FIND_OBJECTS_INIT = 26,
    FIND_OBJECTS = 27,
    ENCRYPT = 30,
    DECRYPT_INIT = 33,
    DECRYPT = 34
};

static struct list real, ours;

static void place(char *out, size_t room, const char *name) {
    snprintf(out, room, "%s/%s", getenv("TOWER_WARD_TEST_TOKEN"), name);
}

static int on(const char *fault) {
    char path[4096];
    place(path, sizeof path, fault);
    return access(path, F_OK) == 0;
}

static void count(const char *what) {
    char path[4096];
    place(path, sizeof path, what);
    FILE *file = fopen(path, "a");
    fputc('x', file);
    fclose(file);
}

static void hang(const char *fault) {
    while (on(fault)) usleep(1000);
}

static ulong get_token_info(ulong slot, byte *info) {
    if (on("gone")) return 0xe0; /* CKR_TOKEN_NOT_PRESENT */
    ulong answer = ((ulong(*)(ulong, byte *))real.of[GET_TOKEN_INFO])(slot, info);
    ulong flags;
    memcpy(&flags, info + 96, sizeof flags);
    if (on("final-try")) flags |= 0x20000;
    if (on("locked")) flags |= 0x40000;
    memcpy(info + 96, &flags, sizeof flags);
    return answer;
}

static ulong open_session(ulong slot, ulong flags, void *application, void *notify, ulong *session) {
    if (on("no-session-left")) return 0xb1; /* CKR_SESSION_COUNT */
    return ((ulong(*)(ulong, ulong, void *, void *, ulong *))real.of[OPEN_SESSION])(slot, flags, application, notify,
                                                                                  session);
}

static ulong login(ulong session, ulong user, byte *pin, ulong length) {
    count("logins");
    hang("hang-login");
    if (on("vague-login")) return 5; /* CKR_GENERAL_ERROR */
    return ((ulong(*)(ulong, ulong, byte *, ulong))real.of[LOGIN])(session, user, pin, length);
}

/* SoftHSM 2.6.1 cannot read a date of a private object: CKR_GENERAL_ERROR. */
static ulong get_attribute_value(ulong session, ulong object, struct attribute *asked, ulong many) {
    if (many == 1 && asked->type == 0x110 /* CKA_START_DATE */ && on("dated")) {
        if (asked->value) memcpy(asked->value, "20260301", 8);
        asked->length = 8;
        return 0;
    }
    return ((ulong(*)(ulong, ulong, struct attribute *, ulong))real.of[GET_ATTRIBUTE_VALUE])(session, object, asked,
                                                                                           many);
}

/* The token is taken out just when its key is looked for. */
static ulong find_objects_init(ulong session, void *asked, ulong many) {
    if (on("vanishes")) count("gone");
    return ((ulong(*)(ulong, void *, ulong))real.of[FIND_OBJECTS_INIT])(session, asked, many);
}

static ulong find_objects(ulong session, ulong *found, ulong most, ulong *many) {
    ulong answer = ((ulong(*)(ulong, ulong *, ulong, ulong *))real.of[FIND_OBJECTS])(session, found, most, many);
    if (on("gone")) *many = 0;
    return answer;
}

static ulong encrypt(ulong session, byte *in, ulong length, byte *out, ulong *room) {
    ulong answer = ((ulong(*)(ulong, byte *, ulong, byte *, ulong *))real.of[ENCRYPT])(session, in, length, out, room);
    if (out && on("short-encrypt")) *room -= 1;
    return answer;
}

static ulong decrypt_init(ulong session, void *mechanism, ulong key) {
    count("decryptions");
    return ((ulong(*)(ulong, void *, ulong))real.of[DECRYPT_INIT])(session, mechanism, key);
}

static ulong decrypt(ulong session, byte *in, ulong length, byte *out, ulong *room) {
    ulong answer = ((ulong(*)(ulong, byte *, ulong, byte *, ulong *))real.of[DECRYPT])(session, in, length, out, room);
    if (out) hang("hang-decrypt");
    if (out && on("broken-decrypt")) return 5; /* CKR_GENERAL_ERROR */
    if (out && on("removed-decrypt")) return 0x32; /* CKR_DEVICE_REMOVED */
    if (out && on("short-decrypt")) *room -= 1;
    if (out && on("wrong-decrypt")) out[0] ^= 1;
    return answer;
}

ulong C_GetFunctionList(struct list **out) {
    void *module = dlopen(REAL, RTLD_NOW | RTLD_LOCAL);
    if (!module) return 5;
    struct list *found;
    ulong answer = ((ulong(*)(struct list **))dlsym(module, "C_GetFunctionList"))(&found);
    if (answer) return answer;
    real = ours = *found;
    ours.of[GET_TOKEN_INFO] = get_token_info;
    ours.of[OPEN_SESSION] = open_session;
    ours.of[LOGIN] = login;
    ours.of[GET_ATTRIBUTE_VALUE] = get_attribute_value;
    ours.of[FIND_OBJECTS_INIT] = find_objects_init;
    ours.of[FIND_OBJECTS] = find_objects;
    ours.of[ENCRYPT] = encrypt;
    ours.of[DECRYPT_INIT] = decrypt_init;
    ours.of[DECRYPT] = decrypt;
    *out = &ours;
    return 0;
}
