/* CANN functions that need a real answer; every other missing symbol only returns an error code. */
#include <stdint.h>

int aclInit(const char *config) { (void)config; return 0; }
int aclFinalize(void) { return 0; }
int aclrtGetDeviceCount(uint32_t *count) { *count = 0; return 0; }
/* Shape functions of the wheel ask for the chip; the contracts kept here are those of Atlas A2. */
const char *aclrtGetSocName(void) { return "Ascend910B3"; }
const char *aclGetRecentErrMsg(void) { return "no Ascend device: these are stub libraries built by specwb"; }
void aclAppLog(int level, const char *function, const char *file, uint32_t line, const char *format, ...) {
    (void)level; (void)function; (void)file; (void)line; (void)format;
}
